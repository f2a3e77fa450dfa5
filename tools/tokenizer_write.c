/* tokenizer_write.c - writes a tokenizer as Hugging Face's tokenizer.json. */
#include <string.h>

#include "graph/io.h"
#include "tools/bpe_impl.h"

static void put(weft_string *s, const char *text) { weft_string_add(s, text, strlen(text)); }

/* A JSON string; the byte alphabet needs no escapes but for these two, specials may hold control
 * characters. */
static void put_text(weft_string *s, const char *text)
{
    put(s, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            weft_string_printf(s, "\\%c", *text);
        else if ((unsigned char)*text < 0x20)
            weft_string_printf(s, "\\u%04x", (unsigned char)*text);
        else
            weft_string_add(s, text, 1);
    }
    put(s, "\"");
}

static void put_flag(weft_string *s, const char *name, bool is)
{
    weft_string_printf(s, ", \"%s\": %s", name, is ? "true" : "false");
}

static void put_added(weft_string *s, const weft_bpe *t)
{
    put(s, "  \"added_tokens\": [");
    for (int i = 0; i < t->n_added; i++) {
        const bpe_added *k = &t->added[i];
        weft_string_printf(s, "%s\n    {\"id\": %d, \"content\": ", i ? "," : "", k->id);
        put_text(s, t->token[k->id].text);
        put_flag(s, "single_word", k->single_word);
        put_flag(s, "lstrip", k->lstrip);
        put_flag(s, "rstrip", k->rstrip);
        put_flag(s, "normalized", k->normalized);
        put_flag(s, "special", k->special);
        put(s, "}");
    }
    put(s, t->n_added ? "\n  ],\n" : "],\n");
}

static void put_model(weft_string *s, const weft_bpe *t)
{
    put(s,
        "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
        "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n"
        "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n"
        "    \"vocab\": {");
    for (int32_t i = 0; i < t->n_vocab; i++) {
        put(s, i ? ",\n      " : "\n      ");
        put_text(s, t->token[i].text);
        weft_string_printf(s, ": %d", i);
    }
    put(s, "\n    },\n    \"merges\": [");
    for (int32_t i = 0; i < t->n_merges; i++) { /* "a b": both old and new readers take it */
        weft_string pair;
        weft_string_init(&pair, s->ctx);
        weft_string_printf(&pair, "%s %s", t->token[t->merge[i].left].text,
                           t->token[t->merge[i].right].text);
        put(s, i ? ",\n      " : "\n      ");
        put_text(s, pair.failed ? "" : pair.s);
        weft_string_free(&pair);
    }
    put(s, "\n    ]\n  }\n}\n");
}

weft_status weft_bpe_save(const weft_bpe *t, const char *path)
{
    weft_string s;
    weft_string_init(&s, t->ctx);
    put(&s, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    put_added(&s, t);
    put(&s, "  \"normalizer\": null,\n"
            "  \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
            "\"trim_offsets\": true, \"use_regex\": true},\n"
            "  \"post_processor\": null,\n"
            "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": true, "
            "\"trim_offsets\": true, \"use_regex\": true},\n");
    put_model(&s, t);
    weft_status r = t->ctx->status;
    if (!r)
        r = weft_make_parent(t->ctx, path);
    if (!r)
        r = weft_write_file(t->ctx, path, s.s, s.len);
    weft_string_free(&s);
    return r;
}
