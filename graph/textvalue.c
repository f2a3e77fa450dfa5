/* textvalue.c - scalar values of the text format: numbers, words, strings, with their ranges. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/text.h"

#define NUMBER_CHARS 1024 /* a longer literal is no number anybody meant */

weft_status weft_text_fail(weft_text *t, int line, int col, const char *fmt, ...)
{
    char what[1400], path[600];
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (!t->file)
        return weft_fail(t->ctx, WEFT_USAGE, "setting %s: %s", t->setting, what);
    weft_walk_path(&t->walk, path, sizeof path);
    return weft_fail(t->ctx, WEFT_MALFORMED, "%s:%d:%d: %s: %s", t->file, line, col, path, what);
}

/* The token is shown as it stands, cut to 47 bytes and with control characters escaped. */
weft_status weft_text_expected(weft_text *t, const char *what)
{
    const weft_lexer *x = &t->lex;
    char raw[48] = "", shown[200];
    int line = t->minus ? t->minus_line : x->token_line,
        col = t->minus ? t->minus_col : x->token_col;
    if (x->kind == WEFT_TOKEN_END)
        return weft_text_fail(t, x->token_line, x->token_col,
                              "found the end of the %s, expected %s", t->file ? "file" : "value",
                              what);
    size_t n = x->len < sizeof raw ? x->len : sizeof raw - 1;
    memcpy(raw, x->s + x->start, n);
    weft_printable(shown, sizeof shown, raw);
    const char *quote = x->kind == WEFT_TOKEN_STRING ? "" : "'";
    return weft_text_fail(t, line, col, "found %s%s%s%s%s, expected %s", quote, t->minus ? "-" : "",
                          shown, n < x->len ? "..." : "", quote, what);
}

weft_status weft_text_next(weft_text *t)
{
    weft_lexer *x = &t->lex;
    t->minus = false;
    weft_lexer_next(x);
    if (x->kind != WEFT_TOKEN_BAD)
        return WEFT_OK;
    return weft_text_fail(t, x->error_line, x->error_col, "%s", x->error);
}

/* ---- words ---- */
/* Words of the format are compared by length: the text is not terminated at the token. */
static bool token_is(const weft_text *t, const char *word)
{
    return strlen(word) == t->lex.len && !memcmp(t->lex.s + t->lex.start, word, t->lex.len);
}

/* A terminated copy, cut to `size`: a longer word is none that we know. */
static void token_copy(const weft_text *t, char *out, size_t size)
{
    size_t n = t->lex.len < size ? t->lex.len : size - 1;
    memcpy(out, t->lex.s + t->lex.start, n);
    out[n] = 0;
}

/* 0 or 1; 2 when the token is no boolean. */
static uint64_t bool_word(const weft_text *t)
{
    static const char *const word[] = {"false", "False", "f", "true", "True", "t"};
    for (int i = 0; i < 6; i++)
        if (token_is(t, word[i]))
            return (uint64_t)i / 3;
    return 2;
}

static weft_status boolean(weft_text *t, const weft_field *f, weft_slot *v)
{
    uint64_t u = bool_word(t);
    if (t->lex.kind == WEFT_TOKEN_INT && !weft_lexer_u64(&t->lex, &u))
        u = 2;
    if (u > 1)
        return weft_text_expected(t, weft_type_word(f->type));
    v->boolean = (protobuf_c_boolean)u;
    return weft_text_next(t);
}

/* ---- integers ---- */
/* Moves behind a minus sign, which stays remembered until the value is read. */
static weft_status take_minus(weft_text *t)
{
    if (!weft_lexer_is(&t->lex, '-'))
        return WEFT_OK;
    t->minus_line = t->lex.token_line;
    t->minus_col = t->lex.token_col;
    WEFT_TRY(weft_text_next(t));
    t->minus = true;
    return WEFT_OK;
}

/* `max` is the largest positive value; two's complement reaches one further below zero. */
static weft_status signed_value(weft_text *t, const weft_field *f, uint64_t max, int64_t *out)
{
    uint64_t u = 0;
    WEFT_TRY(take_minus(t));
    if (t->lex.kind != WEFT_TOKEN_INT || !weft_lexer_u64(&t->lex, &u) ||
        u > max + t->minus) /* one more below zero than above */
        return weft_text_expected(t, weft_type_word(f->type));
    *out = (int64_t)(t->minus ? 0 - u : u);
    return weft_text_next(t);
}

/* Even -0 is refused, as protoc does: a sign here is a misunderstanding. */
static weft_status unsigned_value(weft_text *t, const weft_field *f, uint64_t max, uint64_t *out)
{
    WEFT_TRY(take_minus(t));
    if (t->minus || t->lex.kind != WEFT_TOKEN_INT || !weft_lexer_u64(&t->lex, out) || *out > max)
        return weft_text_expected(t, weft_type_word(f->type));
    return weft_text_next(t);
}

/* By name, or by a number that has a name (proto2 enums are closed). */
static weft_status enumerator(weft_text *t, const weft_field *f, weft_slot *v)
{
    const ProtobufCEnumDescriptor *d = f->descriptor;
    int line = t->lex.token_line, col = t->lex.token_col;
    char word[128], hint[700];
    int64_t value = 0;
    token_copy(t, word, sizeof word);
    if (t->lex.kind == WEFT_TOKEN_NAME) {
        const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value_by_name(d, word);
        if (!e)
            return weft_text_fail(t, line, col, "unknown enumerator '%s' of %s%s", word,
                                  d->short_name, weft_enum_hint(hint, sizeof hint, d, word));
        v->i32 = e->value;
        return weft_text_next(t);
    }
    WEFT_TRY(signed_value(t, f, INT32_MAX, &value));
    if (!protobuf_c_enum_descriptor_get_value(d, (int)value))
        return weft_text_fail(t, line, col, "%s has no enumerator of value %d%s", d->short_name,
                              (int)value, weft_enum_hint(hint, sizeof hint, d, ""));
    v->i32 = (int)value;
    return WEFT_OK;
}

/* ---- floating point ---- */
/* Decimal or inf, infinity, nan in any case; octal and hexadecimal are refused rather than misread.
 */
static weft_status floating(weft_text *t, const weft_field *f, double *out)
{
    char word[NUMBER_CHARS];
    WEFT_TRY(take_minus(t));
    token_copy(t, word, sizeof word);
    if (t->lex.kind == WEFT_TOKEN_NAME) {
        if (weft_same_word(word, "inf") || weft_same_word(word, "infinity"))
            *out = INFINITY;
        else if (weft_same_word(word, "nan"))
            *out = NAN;
        else
            return weft_text_expected(t, weft_type_word(f->type));
    } else if (t->lex.kind == WEFT_TOKEN_INT && t->lex.base != 10) {
        return weft_text_expected(t, "a decimal number (not octal or hexadecimal)");
    } else if (t->lex.kind != WEFT_TOKEN_INT && t->lex.kind != WEFT_TOKEN_FLOAT) {
        return weft_text_expected(t, weft_type_word(f->type));
    } else if (t->lex.len >= sizeof word) {
        return weft_text_expected(t, "a number of at most 1023 characters");
    } else {
        *out = weft_strtod(word, NULL); /* beyond the range: infinity, as protoc has it */
    }
    *out = t->minus ? -*out : *out;
    return weft_text_next(t);
}

/* ---- strings ---- */
/* What a C string can not hold is refused here, where the place is known: protobuf-c would cut or
 * pass it on. */
weft_status weft_text_string(weft_text *t, const weft_field *f, const char *s, size_t n,
                             weft_slot *v)
{
    int line = t->lex.token_line, col = t->lex.token_col;
    char *copy = weft_arena_strndup(t->arena, s, n);
    if (!copy)
        return t->ctx->status;
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        v->bytes = (ProtobufCBinaryData){.len = n, .data = (uint8_t *)copy};
        return WEFT_OK;
    }
    size_t valid = weft_utf8_prefix(s, n);
    if (valid < n)
        return weft_text_fail(t, line, col, "string is not valid UTF-8 (byte 0x%02x, number %zu)",
                              (unsigned char)s[valid], valid + 1);
    if (memchr(s, 0, n))
        return weft_text_fail(t, line, col, "string holds a NUL byte, which would cut it short");
    v->string = copy;
    return WEFT_OK;
}

/* One buffer for all strings of the text; it doubles, so copying stays linear. */
static bool scratch_room(weft_text *t, size_t need)
{
    if (need <= t->cap_scratch)
        return true;
    size_t cap = need < 256 ? 256 : need * 2;
    char *grown = weft_arena_alloc(t->arena, cap);
    if (!grown)
        return false;
    if (t->cap_scratch)
        memcpy(grown, t->scratch, t->cap_scratch);
    t->scratch = grown;
    t->cap_scratch = cap;
    return true;
}

/* Adjacent strings are one string. */
static weft_status strings(weft_text *t, const weft_field *f, weft_slot *v)
{
    size_t n = 0;
    weft_lexer *x = &t->lex, first = *x;
    if (x->kind != WEFT_TOKEN_STRING)
        return weft_text_expected(t, weft_type_word(f->type));
    while (x->kind == WEFT_TOKEN_STRING) {
        size_t more;
        if (!scratch_room(t, n + x->len))
            return t->ctx->status;
        if (!weft_lexer_unescape(x, t->scratch + n, &more))
            return weft_text_fail(t, x->error_line, x->error_col, "%s", x->error);
        n += more;
        WEFT_TRY(weft_text_next(t));
    }
    weft_lexer behind = *x;
    *x = first; /* errors of the value point to its first quote */
    weft_status s = weft_text_string(t, f, t->scratch, n, v);
    *x = behind;
    return s;
}

weft_status weft_text_value(weft_text *t, const weft_field *f, weft_slot *v)
{
    int64_t i = 0;
    uint64_t u = 0;
    double d = 0;
    weft_status s;
    *v = (weft_slot){0};
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        return strings(t, f, v);
    case PROTOBUF_C_TYPE_BOOL:
        return boolean(t, f, v);
    case PROTOBUF_C_TYPE_ENUM:
        return enumerator(t, f, v);
    case PROTOBUF_C_TYPE_FLOAT:
        s = floating(t, f, &d);
        v->f32 = (float)d; /* from the double, as protoc does: no double rounding of our own */
        return s;
    case PROTOBUF_C_TYPE_DOUBLE:
        return floating(t, f, &v->f64);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        s = unsigned_value(t, f, UINT32_MAX, &u);
        v->u32 = (uint32_t)u;
        return s;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return unsigned_value(t, f, UINT64_MAX, &v->u64);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return signed_value(t, f, INT64_MAX, &v->i64);
    default:
        s = signed_value(t, f, INT32_MAX, &i);
        v->i32 = (int32_t)i;
        return s;
    }
}
