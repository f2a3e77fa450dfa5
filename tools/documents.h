/* documents.h - text files as a stream of documents, in pieces that can be tokenized on their own.
 */
#ifndef WEFT_TOOLS_DOCUMENTS_H
#define WEFT_TOOLS_DOCUMENTS_H

#include "tools/bpe.h"

/* How documents are told apart; the end of a file always ends one. */
typedef enum {
    WEFT_DOCS_MARK,  /* `mark` between them, with the line break after it: "<|endoftext|>" */
    WEFT_DOCS_BLANK, /* lines that are empty or hold white space only */
    WEFT_DOCS_FILE   /* one a file */
} weft_doc_mode;

/* A part of a document. It begins and ends where a piece of the pre-tokenizer does, and beside no
 * added token, so that its ids do not depend on the cut. Documents of white space only are left
 * out. */
typedef struct {
    const char *text;
    size_t n;
    int64_t document; /* 0, 1, ... */
    bool last;        /* of its document */
} weft_segment;

typedef struct weft_documents weft_documents;
/* `paths` and `mark` are borrowed; `buffer` is how many bytes are read at a time, 0: 16 MiB. Fails
 * with WEFT_MISSING for a file that cannot be read. */
weft_status weft_documents_open(weft_ctx *c, const char *const *paths, int n_paths,
                                weft_doc_mode mode, const char *mark, size_t buffer,
                                weft_documents **out);
/* Before the first batch: no segment ends in or beside an added token of t, which is borrowed. */
void weft_documents_keep_whole(weft_documents *d, const weft_bpe *t);
/* The next batch of segments, a buffer of text, valid until the next call; *n is 0 at the end. */
weft_status weft_documents_next(weft_documents *d, const weft_segment **out, int *n);
void weft_documents_close(weft_documents *d);

int64_t weft_documents_total(const weft_documents *d); /* bytes of all files */
int64_t weft_documents_done(const weft_documents *d);  /* bytes given out so far */

#endif
