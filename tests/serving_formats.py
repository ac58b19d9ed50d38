"""Hooks for schemathesis: what the formats in the server's description stand for."""

import base64
import json

import schemathesis
from hypothesis import strategies as st

from serving import picture

PHOTOS = [picture(60, 40), picture(40, 60, "PNG"), picture(64, 64, quality=30)]
CORNER, SIDE = st.floats(0, 0.9), st.floats(0.01, 1)  # of boxes that touch the image
BOXES = st.tuples(CORNER, CORNER, SIDE, SIDE)

schemathesis.openapi.format("box", BOXES.map(lambda box: json.dumps(list(box))))
schemathesis.openapi.format("animl-box", BOXES.map(lambda b: json.dumps([b[1], b[0], b[1] + b[3], b[0] + b[2]])))
schemathesis.openapi.format("image-base64", st.sampled_from([base64.b64encode(one).decode() for one in PHOTOS]))
schemathesis.openapi.format("binary", st.sampled_from(PHOTOS))
