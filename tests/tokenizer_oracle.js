// tokenizer_oracle.js - the other side of tokenizer_oracle.sh: makes texts, and compares ids with those of tiktoken
// (OpenAI's own code, as WebAssembly) and of Hugging Face's tokenizers.
//
//   node tokenizer_oracle.js make DIR [CORPUS]     writes DIR/adversarial.txt, DIR/corpus.txt
//   node tokenizer_oracle.js check DIR             reads DIR/*.ids (written by weft) and compares
"use strict";
const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const [, , command, dir, corpus] = process.argv;
const packages = createRequire(path.join(path.resolve(dir), "package.json"));
const END = "<|endoftext|>", END_ID = 50256, CORPUS_BYTES = 24e6;

// Letters of every case, numbers of every kind, marks, symbols, controls, all that some engine calls white space,
// contractions, and beginnings of them.
const symbols = [
  "a", "Z", "é", "ª", "ǅ", "ʰ", "日", "ا", "0", "7", "²", "½", "٣", "Ⅷ", "'", "'s", "'ll", "'S", "’s", "!", "_", "<|",
  "😀", "\u0301", " ", "\n", "\r", "\t", "\v", "\u001c", "\u0000", "\u0085", "\u00a0", "\u1680", "\u180e", "\u2003",
  "\u2028", "\u200b", "\u202f", "\u205f", "\u3000", "\ufeff", "\ue000", "\u{10ffff}",
];

function adversarial() {
  const all = [];
  for (const x of symbols)
    for (const y of symbols)
      for (const z of symbols) all.push(x + y + z);
  return all;
}

function make() {
  fs.writeFileSync(path.join(dir, "adversarial.txt"), adversarial().join(END));
  let text = corpus ? fs.readFileSync(corpus).toString("utf8") : "";
  if (!text) // no corpus: words of random letters, with the symbols strewn in; a fixed generator, so failures recur
    for (let s = 1, words = []; text.length < 4e6; text += words.join(" "), words = [])
      for (let w = 0; w < 1000; w++) {
        s = (s * 48271) % 2147483647;
        words.push(s % 20 ? (s % 1e9).toString(36) : symbols[(s >> 8) % symbols.length]);
      }
  // Bytes that are no UTF-8 became U+FFFD: tiktoken takes strings only.
  fs.writeFileSync(path.join(dir, "corpus.txt"), Buffer.from(text, "utf8").subarray(0, CORPUS_BYTES).toString("utf8"));
}

function compare(what, got, want, name) {
  const n = Math.max(got.length, want.length);
  for (let i = 0; i < n; i++)
    if (got[i] !== want[i]) {
      console.error(`${what}: token ${i}: weft ${got.slice(i - 3 < 0 ? 0 : i - 3, i + 8)}, ${name} ${want.slice(i - 3 < 0 ? 0 : i - 3, i + 8)}`);
      process.exitCode = 1;
      return;
    }
  console.log(`${what}: ${n} ids equal to ${name}`);
}

const read = (name) => fs.readFileSync(path.join(dir, name), "utf8");
function bin(name) {
  const b = fs.readFileSync(path.join(dir, name));
  return new Uint16Array(b.buffer, b.byteOffset, b.length / 2);
}

function check() {
  const enc = packages("tiktoken").get_encoding("gpt2");
  const want = [];
  for (const [i, s] of adversarial().entries()) {
    if (i) want.push(END_ID);
    want.push(...enc.encode_ordinary(s));
  }
  compare("adversarial", JSON.parse(read("adversarial.ids")), want, "tiktoken");
  // Whole lines: the pre-tokenizer sees the same at their ends. encode_ordinary is slow on one string of 24 MB.
  const ids = [], text = read("corpus.txt");
  for (let at = 0; at < text.length; ) {
    let end = text.indexOf("\n\n", at + 100000); // before white space after something else: a place to cut
    while (end > 0 && /\s/.test(text[end - 1])) end = text.indexOf("\n\n", end + 1);
    if (end < 0) end = text.length;
    for (const id of enc.encode_ordinary(text.slice(at, end))) ids.push(id);
    at = end;
  }
  ids.push(END_ID);
  compare("corpus", bin("gpt2/train.bin"), ids, "tiktoken");

  const { Tokenizer } = packages("@huggingface/tokenizers");
  const json = JSON.parse(read("small.json"));
  const small = new Tokenizer(json, { tokenizer_class: "GPT2Tokenizer" });
  const sample = read("sample.txt");
  compare("trained tokenizer.json", JSON.parse(read("sample.ids")), small.encode(sample).ids, "@huggingface/tokenizers");
  const back = small.decode(JSON.parse(read("sample.ids")), { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  if (back !== sample) {
    console.error("trained tokenizer.json: @huggingface/tokenizers decodes to another text");
    process.exitCode = 1;
  }
}

command === "make" ? make() : check();
