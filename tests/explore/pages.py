"""A small page's files: three videos, of which one has an id of YouTube's form."""

HEADER = "VideoId,LabelConfidencePairs\n"
YOUTUBE = "dQw4w9WgXcQ"
SEGMENTS = {
    "SjJ3:0": {11: 0.25, 5: 0.5},
    "SjJ3:5": {11: 0.75, 5: 0.125},
    "SjJ3:10": {11: 0.9},
    f"{YOUTUBE}:0": {5: 0.8, 7: 0.0625},
    f"{YOUTUBE}:5": {5: 0.6, 11: 0.03125},
    "abcd:0": {7: 0.3},
}
VIDEOS = {"SjJ3": {11: 0.5, 5: 0.0625}, YOUTUBE: {5: 1.0, 7: 0.25}, "abcd": {7: 0.5, 11: 0.25}}
NAMES = {5: "Guitar", 7: "Cat <b>& dog</b></script>", 11: "Vehicle"}
SUBMISSION = f"Class,Segments\n5,{YOUTUBE}:5 SjJ3:0 {YOUTUBE}:0\n7,abcd:0\n11,SjJ3:10 SjJ3:5\n"


def write_predictions(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write(HEADER)
        for name, classes in lines.items():
            file.write(f"{name},{' '.join(f'{c} {value:g}' for c, value in classes.items())}\n")
    return str(path)
