/* manifest.h - manifest.json of a checkpoint: what it holds, where training stood, and hashes that
 * prove it whole.
 *
 * An object with "format" (1), the numbers of weft_progress (64-bit unsigned ones as 16 hex
 * digits), "ranks" (1: how many processes wrote it), "files": {name: {"bytes", "hash"}}, "tensors":
 * {name: hash of its bytes in memory}, if the recipe loads frozen weights "frozen": a list of
 * {"scope", "file", "hash"} (weft_frozen), and as its last member "hash": XXH64 of all bytes before
 * that member's line.  So a change of any bit of any file shows. */
#ifndef WEFT_MANIFEST_H
#define WEFT_MANIFEST_H

#include "graph/checkpoint.h"

#define WEFT_MANIFEST_FORMAT 1
#define WEFT_MANIFEST_FILES  8

typedef struct {
    const char *name; /* no path separators */
    int64_t bytes;
    uint64_t hash; /* XXH64 of the file */
} weft_manifest_file;

typedef struct {
    const char *name;
    uint64_t hash;
} weft_manifest_tensor;

typedef struct {
    weft_progress progress; /* config: not part of it */
    weft_manifest_file file[WEFT_MANIFEST_FILES];
    int n_file;
    weft_manifest_tensor *tensor;
    int n_tensor;
} weft_manifest;

weft_status weft_manifest_write(weft_ctx *c, const char *folder, const weft_manifest *m);
/* Reads FOLDER/manifest.json and checks its own hash. CORRUPT (damaged or missing), UNSUPPORTED (a
 * later format). */
weft_status weft_manifest_read(weft_arena *a, const char *folder, weft_manifest *m);
/* Do the files have the sizes, and if `contents` the hashes, of the manifest? CORRUPT names the
 * file, found, expected. */
weft_status weft_manifest_check(weft_ctx *c, const char *folder, const weft_manifest *m,
                                bool contents);
/* Size and hash of one file. */
weft_status weft_file_hash(weft_ctx *c, const char *path, int64_t *bytes, uint64_t *hash);

#endif
