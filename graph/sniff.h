/* sniff.h - what a file is that is not what it should be: known by its first bytes, said in words,
 * with what to do.
 *
 * Nothing that could be meant is refused: the evidence is the magic number of a format and what
 * must follow it, never a file's name. */
#ifndef WEFT_SNIFF_H
#define WEFT_SNIFF_H

#include <stdbool.h>
#include <stddef.h>

#define WEFT_SNIFF_BYTES 65536 /* of the beginning of a file are enough for all that is told here  \
                                */

/* "a gzip archive; unpack it first: gzip -d" - of the first n bytes of a file; NULL: no format of
 * others that is known here. */
const char *weft_kind_of(const void *head, size_t n);

/* How n bytes look that should be text. */
typedef struct {
    size_t bytes;
    size_t controls; /* NUL and others that no text has; line breaks, tabs, ESC and backspace are
                        none */
    size_t invalid;  /* bytes that belong to no UTF-8 character; a character that the end cuts is
                        none */
} weft_text_look;
weft_text_look weft_look_at_text(const void *head, size_t n);
/* "text in UTF-16; ..." or "binary ..., not text" when the first n bytes of a file cannot be meant
 * as UTF-8 text; NULL if they can. Some control characters and some bytes that are no UTF-8 are
 * borne. */
const char *weft_no_text(const void *head, size_t n);
/* Are they text for certain? Printable characters and line breaks only, 128 bytes or more. */
bool weft_surely_text(const void *head, size_t n);

#endif
