/* checkpoint.h - a run directory on disk: lock, checkpoints with manifest, the last K kept, loading
 * the newest good one.
 *
 *   DIR, DIR/lock                 flock'ed for the life of the run; the file names its holder
 *   DIR/checkpoints/step-000100/
 *     model.safetensors           weights, trainable and frozen, under their public names, but for
 *                                 frozen ones that the recipe loads from a file (frozen.c)
 *     optimizer.safetensors       all other states that outlive a step: moments, counters
 *     config.json                 if the caller has one
 *     run.txtpb                   the run's recipe.txtpb as it was; the manifest has its hash
 *     manifest.json               written last: sizes and hashes of all of it (manifest.h)
 *
 * A name that ends in ".tmp" is a save or a removal that did not finish; opening the directory
 * clears it up. */
#ifndef WEFT_CHECKPOINT_H
#define WEFT_CHECKPOINT_H

#include "graph/plan.h"
#include "graph/safetensors.h"

#define WEFT_RUN_RECIPE "run.txtpb"

/* Frozen weights that a checkpoint names instead of holding them. */
typedef struct {
    const char *scope; /* their names begin with it */
    const char *file;  /* as the recipe has it */
    const char *from;  /* the folder or file that was read; NULL: none was */
    uint64_t hash;     /* of their names and bytes, in any order; 0: not known */
    bool looked;       /* something of it is frozen, and its file was looked at, not read */
} weft_frozen;

typedef struct {
    int64_t step;   /* optimizer steps done */
    int64_t cursor; /* micro-batches drawn */
    int64_t tokens; /* tokens seen */
    uint64_t seed;
    uint64_t graph_hash; /* of the training graph's dump */
    uint64_t data_hash;
    int64_t log_bytes; /* length of log.jsonl at this step: what comes later is cut on resume */
    int64_t vocab;
    const char *config; /* text of config.json (Hugging Face keys where they exist), or NULL */
    const char *recipe; /* text of run.txtpb: the run's recipe.txtpb, or NULL */
    const weft_frozen *frozen;
    int n_frozen;
} weft_progress;

/* A run directory that we hold; the fields are for checkpoint*.c. */
typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *path, *checkpoints;
    int folder_fd, lock_fd; /* DIR and DIR/lock, both locked */
    int64_t *damaged;       /* steps found damaged since the opening: not counted as kept ones */
    int n_damaged, cap_damaged;
} weft_run_dir;

/* Creates DIR if needed, takes its lock (WEFT_LOCKED with the holder's pid and host), writes a
 * probe (CANTCREATE or IO when the folder cannot be written to), removes what an interrupted save
 * left. *out is NULL on failure. */
weft_status weft_run_dir_open(weft_ctx *c, const char *path, weft_run_dir **out);
/* Would it succeed? Makes, locks and clears up nothing, whoever holds the directory; *out serves to
 * find checkpoints. */
weft_status weft_run_dir_look(weft_ctx *c, const char *path, weft_run_dir **out);
void weft_run_dir_close(weft_run_dir *d); /* NULL is fine */
/* Copies the tokenizer at `from` (a .json file, or a folder of vocab.json and merges.txt; NULL:
 * none), with what declares its tokens, into a directory, so that it stands on its own. */
weft_status weft_tokenizer_copy(weft_arena *a, const char *from, const char *dir);
/* Saves all states of s: written to step-N.tmp, every file fsynced, the manifest last, renamed, the
 * folder fsynced, verified by reading it back; then all but the newest `keep` (at least 2) good
 * ones are removed. A checkpoint of the same step is replaced. On failure the temporary folder is
 * removed as far as the disk lets us and all earlier checkpoints are as they were; NUMERIC is not
 * checked here. Needs a few hundred KB, whatever the model's size. */
weft_status weft_checkpoint_save(weft_run_dir *d, weft_session *s, const weft_progress *p,
                                 int keep);
/* The newest checkpoint whose manifest, sizes and hashes hold; a damaged one is reported by
 * weft_log and skipped. MISSING: there is none at all; CORRUPT: there are, all damaged;
 * UNSUPPORTED: the newest is of a later format; IO: one cannot be read now, which is no reason to
 * take an older one. `path` of the chosen one and p->config are arena
 * memory of d. */
weft_status weft_checkpoint_latest(weft_run_dir *d, const char **path, weft_progress *p);
/* The same among those of a step below `step`. */
weft_status weft_checkpoint_before(weft_run_dir *d, int64_t step, const char **path,
                                   weft_progress *p);
/* Loads a checkpoint folder, after its hashes are checked (CORRUPT names the file, and the tensor
 * if it can). All states of s must be in it, and nothing else (MISMATCH lists up to twenty names of
 * each kind), unless `weights_only` (then of optimizer.safetensors only the counters of the model
 * are read; other states that are no weights stay as they are). p (may be NULL) and p->config are
 * memory of s. After a failure the states may hold anything. */
weft_status weft_checkpoint_load(weft_ctx *c, const char *path, weft_session *s, bool weights_only,
                                 weft_progress *p);

/* Weights are the states of floats that the model file declares; integers are counters, which
 * belong to the optimizer's part of a checkpoint, as do the states that a pass has made (their role
 * says so, not their name). */
bool weft_state_is_weight(const weft_state *st);
bool weft_state_is_counter(const weft_state *st);

/* Weights alone, from whatever weft_weights_find understands: a safetensors file, a sharded
 * model.safetensors.index.json, a folder with one of them, a checkpoint (checked against its
 * manifest), a run; all weights whose name begins with `scope` ("" or NULL: all) and that are not
 * ready yet must be there, and nothing else. Without a scope, and once the session has programs,
 * only those that a program reads must be there: a student generates without its teacher. A name N
 * of the file means state scope+N. The shipped name maps say which prefixes may be there or not
 * ("transformer."), which tensors are skipped (mask buffers), and which are skipped when they are
 * copies (a lm_head.weight that equals wte.weight). Element types convert as in
 * weft_tensor_file_read; NaN and Inf are refused. */
weft_status weft_weights_load(weft_session *s, const char *path, const char *scope);
/* Finds the weights behind a path given by a user: a run directory (its newest good checkpoint), a
 * checkpoint folder, a folder with safetensors files, or a file. Read-only: takes no lock. The
 * result is arena memory. */
weft_status weft_weights_find(weft_arena *a, const char *path, const char **folder);

/* ---- frozen.c: weights that checkpoints name but do not hold ---- */
struct weft_recipe;
/* Marks the frozen states of every `load` entry of the recipe as external, so that checkpoints
 * leave them out, and loads what is wanted: all states of an entry (trainable ones too, which stay
 * part of checkpoints) unless all are frozen and no program of the session reads one; with
 * `used_only` only the frozen ones, and these only if a program of the session reads one of the
 * entry's. The session must have all states of the graph. out[i], arena memory, is about entry i;
 * hash 0 says that it was not loaded, that nothing of it is frozen, or that this is a reference
 * session, which holds other bytes. Called again, it reads everything again: the session may have
 * got more programs. Frozen weights of a checkpoint must be read as the checkpoint says
 * (weft_origin_check); g is the model's graph as expanded. */
weft_status weft_frozen_load(weft_session *s, weft_arena *a, const struct weft_recipe *r,
                             const weft_graph *g, bool used_only, weft_frozen **out);
/* MISMATCH unless what was loaded is what the checkpoint at `path`, whose progress is p, was
 * trained with. Entries of `own` that were not loaded are not compared. */
weft_status weft_frozen_check(weft_ctx *c, const char *path, const weft_progress *p,
                              const weft_frozen *own, int n);
/* origin.c: entry `which` of n, if it is frozen or a whole model, against the checkpoint, another
 * program's folder or the import that it was read from. MISMATCH with both values: a parameter that
 * it was made with has another value in the call that owns the scope, or, for a whole model and if
 * both models have another frozen part, in the entry module; or that part had other weights. */
weft_status weft_origin_check(weft_arena *a, const weft_graph *g, const weft_frozen *own, int n,
                              int which);
/* Tells the log which frozen weights a program of the session reads that no entry of the recipe
 * (NULL: there is none) covers and nothing has set: those that will start from a random initialiser
 * for lack of a file. One line for each first part of their names. Called before start values are
 * drawn, and on resume before the checkpoint is read, which has those of its beginning. */
weft_status weft_frozen_warn(const weft_session *s, weft_arena *a, const struct weft_recipe *r);
/* A checkpoint folder is held against its manifest; other folders and files pass. */
weft_status weft_weights_check(weft_arena *a, const char *folder);

/* ---- between checkpoint.c, states.c and weights.c ---- */
/* Loads the states that `weight` selects from n open files, exactly by name after `scope`;
 * `lenient`: with the rules of weft_weights_load; `old`: states that are in none of them are taken
 * from here if it has them (may be NULL). `from` names the source in messages. */
weft_status weft_states_load(weft_session *s, weft_tensor_file *const *file, int n,
                             weft_tensor_file *old, const char *from, const char *scope,
                             bool weight, bool lenient);
/* The same as weft_checkpoint_latest below `folder`, read-only. d may be NULL: else its list of
 * damaged ones grows. */
weft_status weft_checkpoint_scan(weft_arena *a, const char *folder, weft_run_dir *d,
                                 const char **path, weft_progress *p);
/* runcheck.c: warns in the log of a recipe.txtpb and of a model.txtpb of the run directory that are
 * not those that its newest checkpoint was saved with. Fails for want of memory and with IO only:
 * who reads the checkpoint knows how to say what is wrong with it. */
weft_status weft_run_warn(weft_ctx *c, const char *dir);
/* Step number of a folder name "step-N", or -1. */
int64_t weft_checkpoint_step(const char *name);

#endif
