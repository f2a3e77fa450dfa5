/* checkpoint.h - a run directory on disk: lock, checkpoints with manifest, the last K kept, loading the newest good one. */
#ifndef WEFT_CHECKPOINT_H
#define WEFT_CHECKPOINT_H

#include "graph/plan.h"
#include "graph/safetensors.h"

typedef struct {
    int64_t step;          /* optimizer steps done */
    int64_t cursor;        /* micro-batches drawn */
    int64_t tokens;        /* tokens seen */
    uint64_t seed;
    uint64_t graph_hash;   /* of the training graph's dump */
    uint64_t data_hash;
    int64_t log_bytes;     /* length of log.jsonl at this step: what comes later is cut on resume */
    int64_t vocab;
    const char *config;    /* text of config.json (Hugging Face keys where they exist), or NULL */
} weft_progress;

typedef struct weft_run_dir weft_run_dir;
/* Creates DIR if needed, takes its lock (WEFT_LOCKED with the holder's pid and host), writes a probe, removes stray
 * temporary files of dead runs. */
weft_status weft_run_dir_open(weft_ctx *c, const char *path, weft_run_dir **out);
void weft_run_dir_close(weft_run_dir *d);
/* checkpoints/step-N/: model.safetensors (trainable and frozen weights), optimizer.safetensors (all other states),
 * config.json, manifest.json; written to step-N.tmp, fsynced, renamed, verified; then all but the last `keep` removed. */
weft_status weft_checkpoint_save(weft_run_dir *d, weft_session *s, const weft_progress *p, int keep);
/* The newest checkpoint whose manifest, sizes and hashes hold; a damaged one is reported by weft_log and skipped.
 * WEFT_MISSING: there is none at all; WEFT_CORRUPT: there are, all damaged. `path` of the chosen one, arena of d. */
weft_status weft_checkpoint_latest(weft_run_dir *d, const char **path, weft_progress *p);
/* Loads a checkpoint folder. All states of s must be in it, and nothing else, unless `weights_only` (then
 * optimizer.safetensors is not read and states that are no weights stay as they are). */
weft_status weft_checkpoint_load(weft_ctx *c, const char *path, weft_session *s, bool weights_only, weft_progress *p);
/* Finds the weights behind a path given by a user: a run directory (its newest good checkpoint), a checkpoint folder,
 * or a file. Read-only: takes no lock. The result is arena memory. */
weft_status weft_weights_find(weft_arena *a, const char *path, const char **folder);

#endif
