/* fuzz.h - what the fuzz targets share: a context over files in memory, a bound on memory, what
 * every outcome must look like, and inputs of several files.
 *
 * A target is one file with LLVMFuzzerTestOneInput.  It links with libFuzzer (clang,
 * -DWEFT_FUZZ=ON) or with driver.c, which replays the corpus and mutates it with a fixed seed.  A
 * finding is an abort: what FUZZ_REQUIRE demands, or what a sanitizer sees. */
#ifndef WEFT_TESTS_FUZZ_H
#define WEFT_TESTS_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "graph/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ_REQUIRE(condition, ...)                                                               \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- one execution ---- */
/* A context of one thread whose files are the table below and whose allocations fail beyond
 * `budget` bytes in all.  With `strict` reaching the budget is a finding, for readers whose memory
 * must be bounded by their input. */
weft_ctx *fuzz_open(size_t budget, bool strict);
/* Closes it: nothing may be left allocated, no file open. Empties the table. */
void fuzz_close(weft_ctx *c);
/* Is this an outcome that a user may see?  Recorded iff failed, never INTERNAL, a message without
 * control characters. Clears it; returns s == WEFT_OK. */
bool fuzz_done(weft_ctx *c, weft_status s);

/* ---- files in memory (memory_io.c) ---- */
extern const weft_io fuzz_io;
void fuzz_file(const char *path, const void *data, size_t n); /* makes its folders, too */
/* NULL: there is none. Valid until the file is written. */
const uint8_t *fuzz_content(const char *path, size_t *n);
void fuzz_files_clear(void); /* closes and removes everything */
int fuzz_files_open(void);   /* descriptors */

/* ---- inputs of several files: "=====[NAME]\n" begins a part, which ends where the next begins ---
 */
enum { FUZZ_PARTS = 12 };
typedef struct {
    char name[48];
    const uint8_t *data;
    size_t n;
} fuzz_part;
/* What stands before the first mark is a part called `first`. Returns their number. */
int fuzz_split(const uint8_t *data, size_t n, const char *first, fuzz_part part[FUZZ_PARTS]);
const fuzz_part *fuzz_find(const fuzz_part *part, int n, const char *name); /* NULL: none */
/* Every part as a file of a folder. */
void fuzz_files(const char *folder, const fuzz_part *part, int n);
/* The lines of a part as strings; at most `most`. The caller frees text[0] if there is one. */
int fuzz_lines(const fuzz_part *p, char **text, int most);

/* ---- messages ---- */
/* A message that was read: text and binary of it are read back as the same. */
void fuzz_message_again(weft_arena *a, const ProtobufCMessage *m);

#endif
