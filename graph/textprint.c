/* textprint.c - any protobuf-c message as canonical text.
 *
 * Canonical: fields in the order of their numbers, two spaces of indent, a message on one line when
 * it fits in 100 columns, several values of one field as a list.  weft_text_parse reads it back to
 * equal bytes.  Open messages are an explicit stack, as in the reader. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/reflect.h"

#define LINE_WIDTH 100

typedef struct {
    const ProtobufCMessage *m;
    unsigned field; /* index of the field at hand */
    size_t value;   /* and of its value */
} open_message;

typedef struct {
    weft_string *out;
    bool flat; /* everything on one line, up to `limit` bytes of output */
    size_t limit;
    int depth;
    open_message open[WEFT_MESSAGE_DEPTH];
} printer;

/* ---- scalars ---- */
/* Only what would break the line or the string is escaped; bytes that are no UTF-8 go as octal. */
static void print_string(weft_string *out, const uint8_t *s, size_t n, bool utf8)
{
    static const char from[] = "\n\r\t\"\\", to[] = "nrt\"\\";
    weft_string_add(out, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const char *simple = s[i] ? strchr(from, s[i]) : NULL;
        if (simple)
            weft_string_printf(out, "\\%c", to[simple - from]);
        else if (s[i] < 0x20 || s[i] == 0x7f || (s[i] >= 0x80 && !utf8))
            weft_string_printf(out, "\\%03o", s[i]);
        else
            weft_string_add(out, (const char *)s + i, 1);
    }
    weft_string_add(out, "\"", 1);
}

/* The shortest decimal that reads back to the same value. */
static void print_float(weft_string *out, double d, bool single)
{
    char s[40];
    if (!isfinite(d)) {
        weft_string_printf(out, "%s%s", signbit(d) ? "-" : "", isnan(d) ? "nan" : "inf");
        return;
    }
    for (int digits = single ? 6 : 15; digits <= 17; digits++) {
        weft_snprintf(s, sizeof s, "%.*g", digits, d);
        double back = weft_strtod(s, NULL);
        if (single ? (float)back == (float)d : back == d)
            break;
    }
    weft_string_printf(out, "%s", s);
}

/* By name; a number that has none can only come from memory, and is shown rather than lost. */
static void print_enum(weft_string *out, const ProtobufCEnumDescriptor *d, int value)
{
    const ProtobufCEnumValue *e = protobuf_c_enum_descriptor_get_value(d, value);
    if (e)
        weft_string_printf(out, "%s", e->name);
    else
        weft_string_printf(out, "%d", value);
}

void weft_field_print(weft_string *out, const weft_field *f, const void *at)
{
    weft_slot v = {0};
    memcpy(&v, at, weft_field_size(f->type));
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        print_string(out, (const uint8_t *)(v.string ? v.string : ""),
                     v.string ? strlen(v.string) : 0, true);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        print_string(out, v.bytes.data, v.bytes.len, false);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        weft_string_printf(out, "%s", v.boolean ? "true" : "false");
        break;
    case PROTOBUF_C_TYPE_ENUM:
        print_enum(out, f->descriptor, v.i32);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        print_float(out, f->type == PROTOBUF_C_TYPE_FLOAT ? (double)v.f32 : v.f64,
                    f->type == PROTOBUF_C_TYPE_FLOAT);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        weft_string_printf(out, "%u", v.u32);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        weft_string_printf(out, "%llu", (unsigned long long)v.u64);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        weft_string_printf(out, "%lld", (long long)v.i64);
        break;
    default:
        weft_string_printf(out, "%d", v.i32);
    }
}

/* ---- fields ---- */
/* Column-0 part of a line: indent when tall, a space between fields when flat. */
static void begin(printer *p, int depth)
{
    weft_string *out = p->out;
    if (!p->flat)
        weft_string_printf(out, "%*s", 2 * depth, "");
    else if (out->len && out->s[out->len - 1] != '\n' && out->s[out->len - 1] != ' ')
        weft_string_add(out, " ", 1);
}

/* End of a line, when lines are wanted. */
static void end(printer *p)
{
    if (!p->flat)
        weft_string_add(p->out, "\n", 1);
}

/* Gives up behind `limit`: the caller throws a list away that is too long for the line. */
static void print_list(weft_string *out, const ProtobufCMessage *m, const weft_field *f, size_t n,
                       size_t limit)
{
    weft_string_printf(out, "%s: [", f->name);
    for (size_t i = 0; i < n && out->len <= limit; i++) {
        weft_string_add(out, ", ", i ? 2 : 0);
        weft_field_print(out, f, weft_field_at(m, f, i));
    }
    weft_string_add(out, "]", 1);
}

/* All values of a scalar field: as a list if that fits on the line, else one line each. */
static void print_scalars(printer *p, const ProtobufCMessage *m, const weft_field *f, int depth)
{
    size_t n = weft_field_count(m, f), from = p->out->len;
    size_t limit = p->flat ? p->limit : from + LINE_WIDTH;
    if (n > 1) {
        begin(p, depth);
        print_list(p->out, m, f, n, limit);
        if (p->flat || p->out->len <= limit) {
            end(p);
            return;
        }
        p->out->len = from;
    }
    for (size_t i = 0; i < n; i++) {
        begin(p, depth);
        weft_string_printf(p->out, "%s: ", f->name);
        weft_field_print(p->out, f, weft_field_at(m, f, i));
        end(p);
    }
}

static void print_all(printer *p);

/* A sub-message on one line, if it fits; `name { fields }`. */
static bool print_flat(printer *p, const weft_field *f, const ProtobufCMessage *m, int depth)
{
    size_t from = p->out->len;
    printer flat = {
        .out = p->out, .flat = true, .limit = from + LINE_WIDTH, .depth = 1, .open = {{.m = m}}};
    weft_string_printf(p->out, "%*s%s {", 2 * depth, "", f->name);
    print_all(&flat);
    weft_string_printf(p->out, "%s}\n", p->out->s[p->out->len - 1] == '{' ? "" : " ");
    if (p->out->len <= flat.limit + 1)
        return true;
    p->out->len = from;
    return false;
}

/* Opens a sub-message: on one line if it fits, else its fields follow on lines of their own. */
static void push(printer *p, const weft_field *f, const ProtobufCMessage *m)
{
    int depth = p->depth - 1;
    if (!p->flat && print_flat(p, f, m, depth))
        return;
    begin(p, depth);
    weft_string_printf(p->out, "%s {", f->name);
    end(p);
    p->open[p->depth++] = (open_message){.m = m};
}

/* Closes the innermost message; the file itself has no bracket. */
static void pop(printer *p)
{
    if (--p->depth == 0)
        return;
    if (!p->flat)
        weft_string_printf(p->out, "%*s}\n", 2 * (p->depth - 1), "");
    else
        weft_string_add(p->out, p->out->s[p->out->len - 1] == '{' ? "}" : " }",
                        p->out->s[p->out->len - 1] == '{' ? 1 : 2);
}

/* Prints what the stack holds until it is empty, or a flat line is too long. */
static void print_all(printer *p)
{
    while (p->depth && !p->out->failed && (!p->flat || p->out->len <= p->limit)) {
        open_message *o = &p->open[p->depth - 1];
        if (o->field == o->m->descriptor->n_fields) {
            pop(p);
            continue;
        }
        const weft_field *f = &o->m->descriptor->fields[o->field];
        if (f->type != PROTOBUF_C_TYPE_MESSAGE) {
            print_scalars(p, o->m, f, p->depth - 1);
            o->field++;
        } else if (o->value == weft_field_count(o->m, f) || p->depth == WEFT_MESSAGE_DEPTH) {
            o->value = 0;
            o->field++;
        } else {
            const ProtobufCMessage *sub;
            memcpy(&sub, weft_field_at(o->m, f, o->value++), sizeof sub);
            push(p, f, sub);
        }
    }
}

weft_status weft_text_print(const ProtobufCMessage *m, weft_string *out)
{
    printer p = {.out = out, .depth = 1, .open = {{.m = m}}};
    print_all(&p);
    if (out->failed)
        return weft_fail(out->ctx, WEFT_NOMEM, "out of memory while printing a %s",
                         m->descriptor->short_name);
    out->s[out->len] = 0;
    return WEFT_OK;
}
