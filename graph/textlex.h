/* textlex.h - internal: tokens of the protobuf text format. */
#ifndef WEFT_TEXTLEX_H
#define WEFT_TEXTLEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    WEFT_TOKEN_END,
    WEFT_TOKEN_NAME,
    WEFT_TOKEN_INT,    /* decimal, octal or hexadecimal: see base */
    WEFT_TOKEN_FLOAT,  /* with a point, an exponent or an f */
    WEFT_TOKEN_STRING, /* with its quotes */
    WEFT_TOKEN_SYMBOL, /* one of : , ; - [ ] { } < > / . */
    WEFT_TOKEN_BAD     /* see error, error_line, error_col */
} weft_token;

typedef struct {
    const char *s;
    size_t n, at;  /* the text and the cursor behind the current token */
    int line, col; /* of the cursor; columns count characters, from 1 */

    weft_token kind;
    size_t start, len;
    int token_line, token_col;
    int base; /* 8, 10 or 16 */

    char error[160];
    int error_line, error_col;
} weft_lexer;

/* Skips a byte order mark; weft_lexer_next then reads the first token. */
void weft_lexer_init(weft_lexer *x, const char *text, size_t n);
void weft_lexer_next(weft_lexer *x);
bool weft_lexer_is(const weft_lexer *x, char symbol);
/* The magnitude of an integer token; false when it needs more than 64 bits. */
bool weft_lexer_u64(const weft_lexer *x, uint64_t *out);
/* Unescapes a string token into `out` (room for x->len bytes) and sets *n; false with x->error on a
 * bad escape. */
bool weft_lexer_unescape(weft_lexer *x, char *out, size_t *n);

#endif
