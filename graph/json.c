/* json.c - JSON strings out, JSON objects in with errors in our words. */
#include "graph/json.h"

#include <string.h>

void weft_json_add_text(weft_string *s, const char *text)
{
    static const char plain[] = "\b\f\n\r\t\"\\", code[] = "bfnrt\"\\";
    weft_string_add(s, "\"", 1);
    for (; *text; text++) {
        const char *p = strchr(plain, *text);
        if (p)
            weft_string_printf(s, "\\%c", code[p - plain]);
        else if ((unsigned char)*text < 0x20)
            weft_string_printf(s, "\\u%04x", *text);
        else
            weft_string_add(s, text, 1);
    }
    weft_string_add(s, "\"", 1);
}

const char *weft_json_kind(const json_t *j)
{
    static const char *const names[] = {"an object",  "a list", "a string", "a whole number",
                                        "a fraction", "true",   "false",    "null"};
    return j ? names[json_typeof(j)] : "nothing";
}

weft_status weft_json_parse(weft_ctx *c, const char *path, const char *text, size_t n, json_t **out)
{
    json_error_t err;
    char file[512], what[JSON_ERROR_TEXT_LENGTH * 4];
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &err);
    weft_printable(file, sizeof file, path);
    if (!*out && (json_error_code(&err) == json_error_out_of_memory || !err.text[0]))
        return weft_fail(c, WEFT_NOMEM, "out of memory while parsing %s", file);
    if (!*out)
        return weft_fail(c, WEFT_MALFORMED, "%s:%d:%d: not valid JSON: %s", file, err.line,
                         err.column, weft_printable(what, sizeof what, err.text));
    if (json_is_object(*out))
        return WEFT_OK;
    weft_fail(c, WEFT_MALFORMED, "%s: the file is %s, expected an object", file,
              weft_json_kind(*out));
    json_decref(*out);
    *out = NULL;
    return c->status;
}
