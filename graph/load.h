/* load.h - files to messages: the text format, guarded binary unpacking, model files with
 * imports, settings. */
#ifndef WEFT_LOAD_H
#define WEFT_LOAD_H

#include <protobuf-c/protobuf-c.h>

#include "graph/util.h"
#include "model.pb-c.h"
#include "recipe.pb-c.h"

/* What comes with Weft, carried in the library: the name maps (models/names/) and the model files
 * (models/), both in alphabetical order, ended by a NULL name. Names have no suffix. */
typedef struct {
    const char *name, *text;
    size_t n;
} weft_shipped_file;
extern const weft_shipped_file weft_names_shipped[], weft_models_shipped[];

/* Where a message stood in its file. line 0: binary file. */
typedef struct {
    const char *file;
    int line, col;
} weft_pos;

/* pointer of a message, or (text files) of a string in one -> position */
typedef struct weft_lines weft_lines;
weft_lines *weft_lines_new(weft_arena *a);
weft_pos weft_lines_get(const weft_lines *l, const void *message); /* {"?", 0, 0} if unknown */

/* ---- textproto.c: text <-> any protobuf-c message, by descriptor reflection -------------- */
/* Parses `n` bytes of text (the full protobuf text format) into a new message in the arena.
 * `file` is used in errors ("file:line:col: ...") and kept by reference. Iterative; depth, size
 * and count limits of docs/graph-format.md. */
weft_status weft_text_parse(weft_arena *a, const ProtobufCMessageDescriptor *d, const char *text,
                            size_t n, const char *file, weft_lines *lines, ProtobufCMessage **out);
/* Canonical text: two spaces of indent, one field a line, short messages on one line; parses
 * back to equal bytes. */
weft_status weft_text_print(const ProtobufCMessage *m, weft_string *out);
/* Sets the scalar field at a dotted path ("train.steps") from text; repeated fields append.
 * Unknown names are answered with the nearest field. */
weft_status weft_message_set(weft_arena *a, ProtobufCMessage *m, const char *path,
                             const char *value);

/* ---- binary.c: guarded unpacking --------------------------------------------------------- */
/* Scans before unpacking (wire types, lengths, depth, UTF-8, unknown fields, duplicate singular
 * fields) and unpacks into the arena under a byte budget. Errors: "file@offset: field path:
 * ...". */
weft_status weft_binary_parse(weft_arena *a, const ProtobufCMessageDescriptor *d,
                              const uint8_t *data, size_t n, const char *file, weft_lines *lines,
                              ProtobufCMessage **out);
weft_status weft_binary_pack(weft_arena *a, const ProtobufCMessage *m, uint8_t **data, size_t *n);

/* mistaken.c: after such a failure: where the text is another message of ours or JSON, the failure
 * says so instead. Returns the status. */
weft_status weft_message_mistaken(weft_ctx *c, const ProtobufCMessageDescriptor *want,
                                  const char *path, const char *data, size_t n);

/* After such a file could not be opened: where `path` is a folder, notes say of what, and what to
 * name instead. Returns the status. */
weft_status weft_folder_mistaken(weft_arena *a, const char *path);

/* Reads a whole regular file through the I/O seam and parses it as text or binary, by content. */
weft_status weft_message_load(weft_arena *a, const ProtobufCMessageDescriptor *d, const char *path,
                              weft_lines *lines, ProtobufCMessage **out);
/* Writes text for .txtpb and binary for .binpb, atomically. */
weft_status weft_message_save(weft_ctx *c, const ProtobufCMessage *m, const char *path);

/* ---- shipped.c: model files that are carried in the library ------------------------------ */
/* "shipped:gpt2" stands where a path of a model file does. */
bool weft_is_shipped(const char *path);
/* The model file behind "shipped:NAME" or "shipped:NAME.txtpb"; MISSING says what there is. */
weft_status weft_shipped_find(weft_ctx *c, const char *path, const weft_shipped_file **out);

/* ---- load.c: model files ----------------------------------------------------------------- */
typedef struct {
    const char *name, *value;
} weft_setting;

struct weft_model {
    weft_ctx *ctx;
    weft_arena *arena;
    Weft__Model *root;           /* the file that was named */
    const Weft__Module **module; /* of all files, root first; names are unique */
    int n_module, cap_module;
    weft_map *modules;        /* name -> index */
    const Weft__Module *main; /* the entry module */
    weft_lines *lines;
    weft_setting *set; /* parameters of the entry module, names already checked */
    int n_set, cap_set;
};

/* Sets the parameters B and T (0: leaves them), as far as the entry module has them: the sizes of a
 * graph without them are fixed. */
weft_status weft_model_size(weft_model *m, int64_t batch, int64_t length);

/* Has the entry module a parameter of this name? */
bool weft_model_has(const weft_model *m, const char *parameter);
/* Or one that is nearly called so? */
bool weft_model_near(const weft_model *m, const char *parameter);

/* One setting "name=value" more, which stands over those before. */
weft_status weft_model_set(weft_model *m, const char *setting);

/* wellformed.c: names and types are there where the schema cannot demand them. Called by
 * expansion. */
weft_status weft_model_check(const weft_model *m);

#endif
