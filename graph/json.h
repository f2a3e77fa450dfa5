/* json.h - the two things that jansson does not do in our terms: strings written as we want them, errors with places. */
#ifndef WEFT_JSON_H
#define WEFT_JSON_H

#include <jansson.h>

#include "graph/util.h"

/* Appends `text` (UTF-8) as a JSON string with its quotes, escaping only what JSON demands. */
void weft_json_add_text(weft_string *s, const char *text);
/* Parses one object; duplicate keys are errors. `path` is for messages: "FILE:line:col: ...". Free with json_decref. */
weft_status weft_json_parse(weft_ctx *c, const char *path, const char *text, size_t n, json_t **out);
/* "a string", "an object", ... for messages; NULL is "nothing". */
const char *weft_json_kind(const json_t *j);

#endif
