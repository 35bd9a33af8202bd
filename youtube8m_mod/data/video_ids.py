"""Ids of videos as outputs write them.

A submission separates ids by blanks, an id from its start by a colon, and cells by commas. An id that holds one of
these, a quote or a control character is percent-encoded there (`my clip, 1.mp4` as `my%20clip%2C%201.mp4`), in
predictions and in the ground truth alike, so that every reader of such files takes it for one id. Others stay as they
are.
"""

import re
import urllib.parse

# A percent sign is encoded where it would read as an encoded character.
_UNSAFE = re.compile(rb'[\x00-\x20,:"\x7f]|%(?=[0-9A-Fa-f]{2})')
SAFE_PATTERN = r'[^\x00-\x20,:"%\x7f]*'  # Ids that nothing in this module changes.


def escape_id(video_id: bytes) -> bytes:
    """The id as it stands in outputs."""
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], video_id)


def text_of(name: bytes) -> str:
    """An id, or another name in a file, as text; what is not UTF-8 as escapes."""
    return name.decode(errors="backslashreplace")


def unescape_id(text: bytes) -> bytes:
    """The id that `escape_id` wrote as `text`."""
    return urllib.parse.unquote_to_bytes(text)
