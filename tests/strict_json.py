"""strict_json.py FILE [lines] - is the file JSON of RFC 8259: one value, or one a line; UTF-8, no NaN, no key twice?"""
import json
import sys


def bad(word):
    raise ValueError(word + " is no JSON")


def once(pairs):
    keys = [k for k, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError("a key twice: " + ", ".join(sorted({k for k in keys if keys.count(k) > 1})))
    return dict(pairs)


def read(text):
    return json.loads(text, parse_constant=bad, object_pairs_hook=once)


text = open(sys.argv[1], "rb").read().decode("utf-8")
try:
    if sys.argv[2:] != ["lines"] and not text.startswith("{\"sample\""):
        read(text)
    else:
        assert text, "nothing"
        for line in text.split("\n")[:-1]:
            read(line)
except (ValueError, AssertionError) as e:
    sys.exit(f"{sys.argv[1]}: {e}: {text[:200]!r}")
