"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { classes, videos, seconds } = data;
  const ranks = data.quantity === "rank";
  const quantity = { probability: "probability", value: "value (Eq. 1)", rank: "rank" }[data.quantity];
  const LISTED = 200; // Entries of a list that stand on the page; the search finds the others.
  const find = (id) => document.getElementById(id);

  // ---- data ----
  const nameOf = (c) => classes[c].name || `class ${classes[c].id}`;
  const numbers = (text) => {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    return Array.from(new Uint16Array(bytes.buffer));
  };
  const valueOf = (level) => (level === 0 ? null : ranks ? level : (level - 1) / 65534);
  const shown = (value) => (value === null ? "not known" : ranks ? `rank ${value}` : value.toFixed(4));
  const span = (segment) => `${segment * seconds}–${(segment + 1) * seconds} s`;
  const clock = (second) => `${Math.floor(second / 60)}:${String(second % 60).padStart(2, "0")}`;
  const link = (video, c, segment) =>
    "#" + new URLSearchParams({ video: videos[video].id, ...(c === undefined ? {} : { class: classes[c].id, t: segment * seconds }) });
  const classLink = (c) => `#class=${classes[c].id}`;
  const isYouTube = (id) => /^[A-Za-z0-9_-]{11}$/.test(id);

  function strips(video) {
    const values = numbers(video.strips).map(valueOf);
    return video.classes.map((c, row) => ({ c, values: values.slice(row * video.segments, (row + 1) * video.segments) }));
  }

  function bestOf(c) {
    const all = numbers(classes[c].best);
    const found = [];
    for (let i = 0; i < all.length; i += 4) {
      found.push({ video: all[i] + 65536 * all[i + 1], segment: all[i + 2], value: valueOf(all[i + 3]) });
    }
    return found;
  }

  /** Whether a class is truly in a segment: true, false, or undefined where nobody says so. */
  function truthOf(video, c, segment) {
    const [start, end] = [segment * seconds, (segment + 1) * seconds];
    const found = (video.truth || []).filter(([other, from, to]) => other === c && from < end && to > start);
    return found.length ? found.some(([, , , present]) => present) : undefined;
  }
  const truthText = (truth) => (truth === undefined ? "not rated" : truth ? "✓ true" : "✗ rated as absent");

  // ---- elements ----
  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined) made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }
  const anchor = (href, text) => element("a", { href }, text);
  const youTube = (id, second, text) =>
    element("a", {
      href: `https://www.youtube.com/watch?v=${id}&t=${second}s`,
      target: "_blank",
      rel: "noopener noreferrer",
    }, text);
  const valueCell = (value) => {
    const cell = element("td", { class: "number" });
    if (value !== null && !ranks) {
      const fill = element("i");
      fill.style.width = `${100 * value}%`;
      cell.append(element("span", { class: "bar", "aria-hidden": "true" }, fill));
    }
    cell.append(shown(value));
    return cell;
  };
  const table = (caption, heads, rows) =>
    element("div", { class: "scroll" },
      element("table", {},
        element("caption", {}, caption),
        element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, ...rows)));

  // ---- lists and search ----
  let listed = "videos";
  const folded = (text) => text.toLowerCase();
  const texts = {
    videos: videos.map((video) => folded([video.id, ...video.classes.map(nameOf)].join(" "))),
    classes: classes.map((entry, c) => folded(`${entry.id} ${nameOf(c)}`)),
  };
  const order = {
    videos: videos.map((_, v) => v),
    classes: classes.map((_, c) => c).sort((a, b) => nameOf(a).localeCompare(nameOf(b)) || a - b),
  };

  function fillList() {
    const words = folded(find("search").value).split(/\s+/).filter(Boolean);
    const found = order[listed].filter((i) => words.every((word) => texts[listed][i].includes(word)));
    const here = new URLSearchParams(location.hash.slice(1));
    find("list").replaceChildren(...found.slice(0, LISTED).map((i) => {
      const [href, name, detail, current] = listed === "videos"
        ? [link(i), videos[i].id, videos[i].classes.slice(0, 3).map(nameOf).join(", "), here.get("video") === videos[i].id]
        : [classLink(i), nameOf(i), `class ${classes[i].id}`, !here.get("video") && here.get("class") === String(classes[i].id)];
      const entry = element("a", { href, "aria-current": current ? "page" : null }, name);
      if (detail && detail !== name) entry.append(element("small", {}, detail));
      return element("li", {}, entry);
    }));
    const noun = listed === "videos" ? ["video", "videos"] : ["class", "classes"];
    find("count").textContent = `${found.length.toLocaleString("en")} ${noun[found.length === 1 ? 0 : 1]}` +
      (found.length > LISTED ? `, the first ${LISTED} listed: search for others` : "");
    return found;
  }

  function showTab(name, focus) {
    listed = name;
    for (const tab of ["videos", "classes"]) {
      const button = find(`tab-${tab}`);
      button.setAttribute("aria-selected", tab === name);
      button.tabIndex = tab === name ? 0 : -1;
      if (focus && tab === name) button.focus();
    }
    find("panel").setAttribute("aria-labelledby", `tab-${name}`);
    find("search-label").textContent = name === "videos" ? "Search videos by id or class" : "Search classes by name or number";
    find("search").value = "";
    fillList();
  }

  for (const name of ["videos", "classes"]) {
    find(`tab-${name}`).addEventListener("click", () => showTab(name));
    find(`tab-${name}`).addEventListener("keydown", (event) => {
      if (["ArrowLeft", "ArrowRight"].includes(event.key)) showTab(name === "videos" ? "classes" : "videos", true);
    });
  }
  find("search").addEventListener("input", fillList);
  find("panel").addEventListener("keydown", (event) => {
    const links = [...find("list").querySelectorAll("a")];
    if (event.key === "Enter" && event.target === find("search") && links.length) links[0].click();
    if (!["ArrowDown", "ArrowUp"].includes(event.key) || !links.length) return;
    event.preventDefault();
    const place = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    (place < 0 ? find("search") : links[Math.min(place, links.length - 1)]).focus();
  });

  // ---- a video ----
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
  let redraw = null;
  // The library stands behind this script: lists and texts are there before it is read.
  const whenLoaded = (draw) => (window.Plotly ? draw() : addEventListener("DOMContentLoaded", draw, { once: true }));

  function showVideo(v, c, segment) {
    const video = videos[v];
    const rows = strips(video);
    if (c !== undefined && !rows.some((row) => row.c === c)) {
      // A class beyond the video's first: what its list of best segments holds of it.
      const values = Array(video.segments).fill(null);
      for (const entry of bestOf(c)) if (entry.video === v) values[entry.segment] = entry.value;
      rows.unshift({ c, values });
    }
    const own = video.own ? numbers(video.own).map((level) => (level === 0 ? null : (level - 1) / 65534)) : null;
    const about = element("p", { class: "quiet" }, `${clock(video.segments * seconds)} min in ${video.segments} segments`);
    if (isYouTube(video.id)) about.append(" · ", youTube(video.id, 0, "watch on YouTube"));
    if (video.labels) {
      about.append(" · labelled ", ...(video.labels.length ? video.labels.flatMap((l, i) => [i ? ", " : "", anchor(classLink(l), nameOf(l))]) : ["with no class"]));
    }
    const chart = element("div", {
      id: "chart", tabindex: 0, role: "application", "aria-roledescription": "chart", "aria-describedby": "reading",
      "aria-label": `${rows.length} classes of video ${video.id} along time. Arrow keys move from segment to segment and from class to class.`,
    });
    const reading = element("div", { id: "reading", role: "status", "aria-live": "polite" });
    const details = rows.map(({ c: own_c, values }) => {
      const known = values.filter((value) => value !== null);
      const most = known.length ? (ranks ? Math.min(...known) : Math.max(...known)) : null;
      const at = most === null ? null : values.indexOf(most);
      const place = video.classes.indexOf(own_c);
      return element("tr", {},
        element("td", {}, anchor(classLink(own_c), nameOf(own_c))),
        ...(own ? [element("td", { class: "number" }, own[place] === null || own[place] === undefined ? "–" : own[place].toFixed(4))] : []),
        valueCell(most),
        element("td", { class: "number" }, at === null ? "–" : anchor(link(v, own_c, at), span(at))),
        ...(video.truth ? [element("td", {}, spansOf(video, own_c))] : []));
    });
    const heads = ["Class", ...(own ? ["Video's probability"] : []), ranks ? "Best rank" : `Highest ${quantity}`, "At", ...(video.truth ? ["True"] : [])];
    find("main").replaceChildren(
      element("h2", {}, video.id), about, legend(video), reading, chart,
      element("h3", {}, "Classes of this video"), table(`Ordered by the segments' ${quantity}.`, heads, details));

    let half = 0;
    let cursor = c === undefined ? null : { row: rows.findIndex((row) => row.c === c), segment };
    const read = ({ row, segment: at }) => {
      const { c: own_c, values } = rows[row];
      const line = element("div", {}, element("strong", {}, nameOf(own_c)), `, ${span(at)} (${clock(at * seconds)}): `, element("strong", { class: "value" }, ranks ? shown(values[at]) : `${quantity} ${shown(values[at])}`));
      if (video.truth) line.append(`, ${truthText(truthOf(video, own_c, at))}`);
      const more = element("div", {}, anchor(classLink(own_c), `best segments of ${nameOf(own_c)}`));
      if (isYouTube(video.id)) more.append(" · ", youTube(video.id, at * seconds, `YouTube at ${clock(at * seconds)}`));
      reading.replaceChildren(line, more);
    };
    if (cursor) read(cursor);
    else reading.replaceChildren(element("div", {}, "Point at a strip, or go there with the Tab key and move with the arrow keys, to read a value."));

    redraw = () => {
      const narrow = chart.clientWidth < 640;
      const [room, gap] = narrow ? [50, 32] : [30, 14];
      half = (room - gap) / 2 / room; // Of a strip, in rows.
      const family = getComputedStyle(document.body).fontFamily;
      const n = video.segments;
      const z = rows.map(({ values }) => values.map((value) => (value === null ? null : ranks ? 1 - Math.log10(value) / 3 : value)));
      const text = rows.map(({ c: own_c, values }) => values.map((value, at) =>
        `<b>${escaped(short(nameOf(own_c), 40))}</b><br>${span(at)}: ${shown(value)}` + (video.truth ? `<br>${truthText(truthOf(video, own_c, at))}` : "")));
      const colours = style("--scale").split(",");
      const heat = {
        type: "heatmap", z, text, x0: seconds / 2, dx: seconds, y0: 0, dy: 1, zmin: 0, zmax: 1, xgap: 1, ygap: gap,
        colorscale: colours.map((colour, i) => [i / (colours.length - 1), colour]), showscale: false, hoverinfo: "text", hoverongaps: true,
      };
      const bars = [1, 0].map((present) => {
        const own_spans = (video.truth || []).filter((s) => s[3] === present).map(([own_c, from, to]) => [rows.findIndex((row) => row.c === own_c), from, to]).filter(([row]) => row >= 0);
        return {
          type: "bar", orientation: "h", hoverinfo: "skip", showlegend: false, width: narrow ? 0.1 : 0.13,
          y: own_spans.map(([row]) => row + half + 0.1), base: own_spans.map(([, from]) => from), x: own_spans.map(([, from, to]) => to - from),
          marker: { color: present ? style("--truth") : "rgba(0,0,0,0)", line: { color: style("--truth"), width: present ? 0 : 1 } },
        };
      });
      const names = rows.map(({ c: own_c }) => escaped(short(nameOf(own_c), narrow ? 44 : 28)));
      const layout = {
        height: room * rows.length + 70, margin: { l: 8, r: 8, t: 4, b: 44 }, barmode: "overlay",
        paper_bgcolor: style("--page"), plot_bgcolor: style("--page"), font: { color: style("--text"), size: 13, family },
        xaxis: { range: [0, n * seconds], title: { text: "time, s", font: { size: 13 } }, dtick: n * seconds > 600 ? undefined : n * seconds > 120 ? (narrow ? 60 : 30) : 10, showgrid: false, zeroline: false, ticks: "outside", tickcolor: style("--line"), fixedrange: true },
        yaxis: {
          range: [rows.length - 0.4, -0.6], tickvals: rows.map((_, row) => row), ticktext: narrow ? [] : names, showticklabels: !narrow,
          automargin: !narrow, ticks: "", showgrid: false, zeroline: false, fixedrange: true,
        },
        annotations: narrow ? names.map((name, row) => ({ text: name, x: 0, y: row - half - 0.16, xref: "paper", xanchor: "left", yanchor: "middle", showarrow: false, font: { size: 12 } })) : [],
        shapes: outline(), dragmode: false, hovermode: "closest",
        hoverlabel: { bgcolor: style("--panel"), bordercolor: style("--line"), font: { color: style("--text"), family }, align: "left" },
      };
      Plotly.react(chart, [heat, ...bars], layout, { displayModeBar: false, responsive: true, scrollZoom: false });
    };
    const outline = () => (cursor ? [{
      type: "rect", x0: cursor.segment * seconds, x1: (cursor.segment + 1) * seconds, y0: cursor.row - half - 0.04, y1: cursor.row + half + 0.04,
      line: { color: style("--cursor"), width: 2.5 },
    }] : []);
    const move = (row, at) => {
      cursor = { row, segment: at };
      read(cursor);
      Plotly.relayout(chart, { shapes: outline() });
    };
    if (!rows.length || !video.segments) {
      chart.replaceWith(element("p", {}, "Nothing is known of this video."));
      redraw = null;
      return;
    }
    const pointed = (event) => event.points.find((point) => point.curveNumber === 0);
    whenLoaded(() => {
      redraw();
      chart.on("plotly_hover", (event) => {
        const point = pointed(event);
        if (point) read({ row: Math.round(point.y), segment: Math.floor(point.x / seconds) });
      });
      chart.on("plotly_unhover", () => cursor && read(cursor));
      chart.on("plotly_click", (event) => {
        const point = pointed(event);
        if (point) move(Math.round(point.y), Math.floor(point.x / seconds));
      });
    });
    chart.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };
      if (!steps[event.key]) return;
      event.preventDefault();
      const [down, right] = cursor ? steps[event.key] : [0, 0];
      const { row, segment: at } = cursor || { row: 0, segment: 0 };
      const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
      move(within(row + down, rows.length), within(at + right, video.segments));
    });
  }

  const spansOf = (video, c) => {
    const own = video.truth.filter(([other]) => other === c);
    const text = (present) => own.filter((s) => s[3] === present).map(([, from, to]) => `${from}–${to} s`).join(", ");
    const parts = [text(1) && `✓ ${text(1)}`, text(0) && `✗ absent ${text(0)}`].filter(Boolean);
    return parts.join("; ") || (video.labels.includes(c) ? "✓ label of the video" : "–");
  };

  function legend(video) {
    const parts = ranks
      ? [element("span", {}, "rank 1,000", element("i", { class: "ramp" }), "rank 1")]
      : [element("span", {}, `${quantity} 0`, element("i", { class: "ramp" }), "1")];
    if (numbers(video.strips).includes(0)) parts.push(element("span", {}, ranks ? "empty: not in the list" : "empty: not among the best classes, which alone are kept"));
    if ((video.truth || []).some((s) => s[3])) parts.push(element("span", {}, element("i", { class: "yes" }), "true"));
    if ((video.truth || []).some((s) => !s[3])) parts.push(element("span", {}, element("i", { class: "no" }), "rated as absent"));
    return element("div", { class: "legend" }, ...parts);
  }

  // ---- a class ----
  function showClass(c) {
    redraw = null;
    const found = bestOf(c);
    const judged = videos.some((video) => video.truth);
    const linked = found.some(({ video }) => isYouTube(videos[video].id));
    const rows = found.map(({ video: v, segment, value }, place) => element("tr", {},
      element("td", { class: "number" }, String(place + 1)),
      element("td", {}, anchor(link(v, c, segment), `${videos[v].id}, ${span(segment)}`)),
      valueCell(value),
      ...(judged ? [element("td", {}, videos[v].truth ? truthText(truthOf(videos[v], c, segment)) : "–")] : []),
      ...(linked ? [element("td", {}, isYouTube(videos[v].id) ? youTube(videos[v].id, segment * seconds, clock(segment * seconds)) : "–")] : [])));
    const heads = ["Place", "Segment", quantity[0].toUpperCase() + quantity.slice(1), ...(judged ? ["Truth"] : []), ...(linked ? ["YouTube"] : [])];
    const content = found.length
      ? table(`The best ${found.length} segments over all videos of this page; a click shows the video.`, heads, rows)
      : element("p", {}, "No segment of this class was kept.");
    find("main").replaceChildren(element("h2", {}, nameOf(c)), element("p", { class: "quiet" }, `class ${classes[c].id}`), content);
  }

  // ---- what the address names ----
  const videoPlaces = new Map(videos.map((video, v) => [video.id, v]));
  const classPlaces = new Map(classes.map((entry, c) => [String(entry.id), c]));

  function show(event) {
    if (location.hash === "#main") return;
    const asked = new URLSearchParams(location.hash.slice(1));
    const [v, c] = [videoPlaces.get(asked.get("video")), classPlaces.get(asked.get("class"))];
    if (v !== undefined) showVideo(v, c, c === undefined ? undefined : Math.min(Math.max(Math.floor(Number(asked.get("t")) / seconds) || 0, 0), videos[v].segments - 1));
    else if (c !== undefined) showClass(c);
    else if (location.hash.length > 1) find("main").replaceChildren(element("p", {}, "This page does not hold what its address names."));
    else if (videos.length) showVideo(0);
    else find("main").replaceChildren(element("p", {}, "This page holds no video."));
    for (const entry of find("list").querySelectorAll("a")) {
      if (entry.hash === location.hash) entry.setAttribute("aria-current", "page");
      else entry.removeAttribute("aria-current");
    }
    if (event) {
      find("main").focus({ preventScroll: true });
      find("main").scrollIntoView({ block: "start" });
    }
  }
  addEventListener("hashchange", show);

  // ---- light and dark ----
  const dark = matchMedia("(prefers-color-scheme: dark)");
  function applyTheme() {
    const chosen = find("theme").value;
    document.documentElement.dataset.theme = chosen === "auto" ? (dark.matches ? "dark" : "light") : chosen;
    if (redraw && window.Plotly) redraw();
  }
  find("theme").addEventListener("change", () => {
    try { localStorage.setItem("youtube8m_mod-theme", find("theme").value); } catch { /* Not every browser keeps it for a file. */ }
    applyTheme();
  });
  dark.addEventListener("change", applyTheme);
  try { find("theme").value = localStorage.getItem("youtube8m_mod-theme") || "auto"; } catch { /* As above. */ }

  let width = innerWidth;
  addEventListener("resize", () => {
    if (redraw && window.Plotly && innerWidth !== width) redraw();
    width = innerWidth;
  });

  find("notes").append(...data.notes.map((note) => element("p", {}, note)));
  applyTheme();
  showTab(location.hash.startsWith("#class=") ? "classes" : "videos");
  show();
  const now = () => Math.round(performance.now()); // Milliseconds since the page was opened.
  document.documentElement.dataset.listed = now();
  whenLoaded(() => { document.documentElement.dataset.drawn = now(); });
})();
