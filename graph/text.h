/* text.h - internal: the state of the text reader. */
#ifndef WEFT_TEXT_H
#define WEFT_TEXT_H

#include "graph/reflect.h"
#include "graph/textlex.h"

typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_lines *lines;
    const char *file; /* NULL: the text is the value of the setting at `setting` */
    const char *setting;
    size_t used, budget; /* arena bytes at the start, and how many may be added */
    char *scratch;       /* the string being put together */
    size_t cap_scratch;
    bool minus; /* the value began with '-', which stood here: */
    int minus_line, minus_col;
    weft_lexer lex;
    weft_walk walk;
} weft_text;

/* Records "file:line:col: path: ..." */
weft_status weft_text_fail(weft_text *t, int line, int col, const char *fmt, ...) WEFT_PRINTF(4, 5);
weft_status weft_text_expected(weft_text *t,
                               const char *what); /* "found <token>, expected <what>" */
weft_status weft_text_next(weft_text *t);         /* the next token, or the lexer's error */
/* Reads the value of a scalar field and moves behind it. */
weft_status weft_text_value(weft_text *t, const weft_field *f, weft_slot *v);
/* Checks a string or bytes value and gives it to *v; [s, s+n) is copied into the arena. */
weft_status weft_text_string(weft_text *t, const weft_field *f, const char *s, size_t n,
                             weft_slot *v);

#endif
