"""added_tokens.py - added_tokens.json: what Hugging Face's tokenizers makes of texts with added tokens in them.

pip install tokenizers==0.23.3, then: python3 added_tokens.py >added_tokens.json. The vocabulary is that of tests/bpe.h. Texts on
which the library panics (white space taken by two tokens at once) are left out.
"""
import json
import os
import random
import sys

os.environ["RUST_BACKTRACE"] = "0"
from tokenizers import Tokenizer

EOT = ("<|endoftext|>", "s")
# content, flags: single_word, lstrip, rstrip, normalized, special
LISTS = {
    "as in a real file": [EOT, ("<concept>", "n"), ("    ", "n")],
    "one within another": [EOT, ("ab", ""), ("abc", ""), ("bcd", ""), ("c", ""), ("abcde", ""), ("de", "")],
    "both passes": [EOT, ("ab", "n"), ("abc", "n"), ("bc", ""), ("<a>", ""), ("x<a>", "n"), ("<", "n")],
    "alone": [EOT, ("the", "w"), ("éé", "w"), ("<m>", "w"), ("日", "wn"), ("_x", "wn"), (" s", "w")],
    "white space": [("<l>", "l"), ("<r>", "r"), ("<b>", "lr"), EOT, ("<ln>", "ln"), ("<rn>", "rn")],
    "spaces as tokens": [EOT, ("  ", ""), ("    ", ""), ("\n\n", ""), ("\t", "n"), ("a b", ""), (" c", "n"), ("<r>", "r")],
    "special and not": [EOT, ("<s>", "s"), ("<s>a", ""), ("s", "n"), ("<|end", ""), ("of", "s"), ("a<s", "s"), ("ws", "sw")],
    "all at once": [EOT, ("<b>", "lrw"), ("the", "wn"), (" ", "rn"), ("\u3000", "l"), ("aa", "n"), ("\u200d", "w"), ("ⓐ", "")],
    "long": [EOT, ("a" * 70, ""), ("a" * 69 + "b", ""), ("aab", ""), ("b" * 130, "n")],
}
PARTS = ["a", "b", "c", "d", "e", "abc", "abcde", "x", "the", " the", "th", "s", "_x", "é", "éé", "日", "ⓐ", "e\u0301", "\u200d", "1", "²", "_",
         " ", "  ", "    ", "\n", "\n\n", "\t", "\u00a0", "\u3000", "\u2028", "\u200b", "-", "!", "'s", "<", ">", "<|", "of",
         "<|endoftext|>", "<|endof"]


def vocabulary():
    """The 256 bytes by number, as GPT-2 writes them, and the tokens of tests/bpe.h."""
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    other = [b for b in range(256) if b not in plain]
    text = {b: chr(b) for b in plain} | {b: chr(256 + i) for i, b in enumerate(other)}
    names = [text[b] for b in range(256)] + ["th", "the", "Ġthe", "aa", "aaaa", "aaa", EOT[0]]
    return {t: i for i, t in enumerate(names)}, ["t h", "th e", "Ġ the", "a a", "aa aa", "aa a"]


def added_tokens(vocab, tokens):
    ids, out = dict(vocab), []
    for content, flags in tokens:
        ids.setdefault(content, len(ids))
        out.append({"id": ids[content], "content": content, "single_word": "w" in flags, "lstrip": "l" in flags,
                    "rstrip": "r" in flags, "normalized": "n" in flags, "special": "s" in flags})
    return out


def tokenizer(added):
    vocab, merges = vocabulary()
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return Tokenizer.from_str(json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None, "pre_tokenizer": level,
        "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": merges}}))


def encode(t, text, split):
    t.encode_special_tokens = split
    try:
        return t.encode(text, add_special_tokens=False).ids
    except BaseException:  # a panic of Rust is no Exception
        return None


def texts_for(rng, tokens, n):
    long = [c[:60] for c, _ in tokens if len(c) > 60]
    parts = PARTS + long + [c for c, _ in tokens] * 4 + [c[:-1] for c, _ in tokens] + [c[1:] for c, _ in tokens]
    fixed = ["<b>\u3000d\u200d\u3000\u3000a"]  # a token in white space that another took
    return fixed + ["".join(rng.choice(parts) for _ in range(rng.randint(1, 14))) for _ in range(n)]


def main(n):
    rng, out = random.Random(1), []
    for name, tokens in LISTS.items():
        added = added_tokens(vocabulary()[0], tokens)
        t, cases = tokenizer(added), []
        for text in texts_for(rng, tokens, n):
            ids, split = encode(t, text, False), encode(t, text, True)
            if ids is not None and split is not None:
                cases.append({"text": text, "ids": ids} | ({"split": split} if split != ids else {}))
        out.append({"name": name, "added": json.dumps(added, ensure_ascii=False), "cases": cases})
    lines = [json.dumps({**o, "cases": []}, ensure_ascii=False)[:-2] + "\n" + ",\n".join(
        json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in o["cases"]) + "]}" for o in out]
    print('{"made_by": "tokenizers 0.23.3", "lists": [\n' + ",\n".join(lines) + "\n]}")


main(int(sys.argv[1]) if len(sys.argv) > 1 else 36)
