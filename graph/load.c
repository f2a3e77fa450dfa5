/* load.c - message files by content, and model files with their imports and settings.
 *
 * Imports stay below the importing file's folder: relative paths without "..", regular files, no
 * symbolic links on the way.  The walk over imports is an explicit stack; a file is read once
 * however often it is imported. */
#include "graph/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "graph/io.h"
#include "graph/reflect.h"

#define MODEL_BUDGET ((size_t)4 << 30) /* memory of all messages of a model */
#define FILE_LIMIT   256               /* files of one model */
#define CHAIN_LIMIT  64                /* imports inside imports */
#define MODULE_LIMIT 10000
#define NODE_LIMIT   1000000

/* ---- one message from one file ---- */
static bool has_suffix(const char *path, const char *suffix)
{
    size_t n = strlen(path), k = strlen(suffix);
    return n >= k && !strcmp(path + n - k, suffix);
}

/* A control byte that no text file holds outside a string. */
static bool has_control(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < 0x20 && !(s[i] >= '\t' && s[i] <= '\r'))
            return true;
    return false;
}

/* Text begins with a field name, a comment, a bracket of an extension or a byte order mark. */
static bool starts_like_text(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n && (s[i] == ' ' || (s[i] >= '\t' && s[i] <= '\r')))
        i++;
    return i < n && ((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
                     strchr("#_[\xef", s[i]));
}

/* Content decides; where both readings fail, the suffix chooses which reader complains. */
static bool is_binary(weft_arena *a, const ProtobufCMessageDescriptor *d, const char *s, size_t n,
                      const char *path)
{
    bool control = has_control(s, n);
    if (has_suffix(path, ".binpb") || has_suffix(path, ".pb"))
        return control || !starts_like_text(s, n) ||
               !weft_binary_scan(a, d, (const uint8_t *)s, n, path, true);
    if (has_suffix(path, ".txtpb") || has_suffix(path, ".textproto") || has_suffix(path, ".pbtxt"))
        return control && !weft_binary_scan(a, d, (const uint8_t *)s, n, path, true);
    return control;
}

/* The reader that fits the content. */
static weft_status parse_bytes(weft_arena *a, const ProtobufCMessageDescriptor *d, const char *data,
                               size_t n, const char *path, weft_lines *lines,
                               ProtobufCMessage **out)
{
    if (n == 0)
        return weft_fail(weft_arena_ctx(a), WEFT_MALFORMED,
                         "%s: the file is empty, expected a %s as text or packed", path,
                         d->short_name);
    if (is_binary(a, d, data, n, path))
        return weft_binary_parse(a, d, (const uint8_t *)data, n, path, lines, out);
    return weft_text_parse(a, d, data, n, path, lines, out);
}

weft_status weft_message_load(weft_arena *a, const ProtobufCMessageDescriptor *d, const char *path,
                              weft_lines *lines, ProtobufCMessage **out)
{
    char *data;
    size_t n;
    const char *kept = weft_arena_strdup(a, path); /* positions point to it */
    if (!kept)
        return weft_arena_ctx(a)->status;
    if (weft_is_shipped(path)) {
        const weft_shipped_file *f;
        WEFT_TRY(weft_shipped_find(weft_arena_ctx(a), path, &f));
        return parse_bytes(a, d, f->text, f->n, kept, lines, out);
    }
    if (weft_read_file(a, path, WEFT_MESSAGE_LIMIT, &data, &n))
        return weft_folder_mistaken(a, path);
    return parse_bytes(a, d, data, n, kept, lines, out)
               ? weft_message_mistaken(weft_arena_ctx(a), d, kept, data, n)
               : WEFT_OK;
}

weft_status weft_message_save(weft_ctx *c, const ProtobufCMessage *m, const char *path)
{
    weft_status s = weft_make_parent(c, path);
    if (s)
        return s;
    if (has_suffix(path, ".binpb")) {
        uint8_t *data;
        size_t n;
        weft_arena *a = weft_arena_new(c, 0);
        s = !a ? c->status : weft_binary_pack(a, m, &data, &n);
        s = s ? s : weft_write_file(c, path, data, n);
        weft_arena_free(a);
        return s;
    }
    weft_string text;
    weft_string_init(&text, c);
    s = weft_text_print(m, &text);
    s = s ? s : weft_write_file(c, path, text.s, text.len);
    weft_string_free(&text);
    return s;
}

/* ---- imports ---- */
typedef struct {
    const char *path;
    Weft__Model *root;
    size_t next; /* import to be followed */
    bool open;   /* on the stack: meeting it again is a cycle */
} model_file;

typedef struct {
    weft_model *m;
    weft_ctx *ctx;
    weft_map *by_path;
    model_file file[FILE_LIMIT];
    int n_file;
    int stack[CHAIN_LIMIT], depth;
    size_t n_node;
} loader;

static weft_status fail_at(loader *l, weft_pos p, const char *fmt, ...) WEFT_PRINTF(3, 4);
/* "place: ..." */
static weft_status fail_at(loader *l, weft_pos p, const char *fmt, ...)
{
    char what[2000], where[600];
    va_list ap;
    va_start(ap, fmt);
    weft_vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return weft_fail(l->ctx, WEFT_MALFORMED, "%s: %s", weft_pos_print(where, sizeof where, p),
                     what);
}

/* Where a string of a message stood, or (binary files) the message. */
static weft_pos position(const loader *l, const char *string, const void *message)
{
    weft_pos p = weft_lines_get(l->m->lines, string);
    return p.line ? p : weft_lines_get(l->m->lines, message);
}

/* Joins the folder of `from` and a checked relative path, dropping "." and "//". NULL: out of
 * memory. */
static const char *join(weft_arena *a, const char *from, const char *import)
{
    const char *slash = strrchr(from, '/');
    size_t n = slash ? (size_t)(slash - from) + 1 : 0;
    char *out = weft_arena_alloc(a, n + strlen(import) + 1);
    if (!out)
        return NULL;
    memcpy(out, from, n);
    for (const char *s = import; *s;) {
        size_t part = strcspn(s, "/");
        if (part && !(part == 1 && *s == '.')) {
            memcpy(out + n, s, part + (s[part] == '/'));
            n += part + (s[part] == '/');
        }
        s += part + (s[part] == '/');
    }
    out[n] = 0;
    return out;
}

/* NULL when the path stays below its folder, else what is wrong with it. */
static const char *path_fault(const char *import)
{
    size_t n = strlen(import);
    if (!n || import[n - 1] == '/')
        return "names no file";
    if (*import == '/')
        return "is absolute; imports are relative to the importing file";
    for (const char *s = import; *s; s += strcspn(s, "/"), s += *s == '/')
        if (!strncmp(s, "..", 2) && (s[2] == '/' || !s[2]))
            return "leaves the folder with '..'; imports stay below the importing file";
    for (const char *s = import; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f)
            return "holds a control character";
    return NULL;
}

/* Opens an import one component at a time so that no symbolic link leads elsewhere. -1 and errno on
 * failure. */
static int open_below(loader *l, const char *path, size_t folder)
{
    char part[4096];
    for (size_t i = folder; path[i]; i++) {
        if (path[i] != '/' || i >= sizeof part)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        int fd = weft_open_fd(l->ctx, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd < 0)
            return -1;
        weft_close_fd(l->ctx, fd);
    }
    return weft_open_fd(l->ctx, path, O_RDONLY | O_NOFOLLOW);
}

/* errno in words that say what is expected of an import; NULL: it says nothing of the path. */
static const char *open_fault(int why)
{
    return why == ELOOP ? "is a symbolic link; imports are regular files below the importing file"
           : why == EISDIR       ? "is a folder"
           : why == EINVAL       ? "is no regular file"
           : why == ENOTDIR      ? "is reached through a symbolic link or a file that is no folder"
           : why == ENAMETOOLONG ? "has too long a name"
                                 : NULL;
}

static weft_status import_fails(loader *l, weft_pos at, const char *shown)
{
    char where[600];
    int why = errno;
    if (open_fault(why))
        return fail_at(l, at, "import: '%s' %s", shown, open_fault(why));
    return weft_fail(l->ctx,
                     why == ENOENT   ? WEFT_MISSING
                     : why == ENOMEM ? WEFT_NOMEM
                                     : WEFT_IO,
                     "%s: import: '%s' cannot be read: %s", weft_pos_print(where, sizeof where, at),
                     shown, strerror(why));
}

/* The whole file; what was opened is what is read, so nothing can be swapped in between. */
static weft_status read_import(loader *l, const char *path, size_t folder, weft_pos at, char **data,
                               size_t *n)
{
    const weft_io *io = l->ctx->io;
    char shown[500];
    weft_printable(shown, sizeof shown, path);
    int fd = open_below(l, path, folder);
    if (fd < 0)
        return import_fails(l, at, shown);
    int64_t size = weft_size(l->ctx, fd);
    weft_status s = WEFT_OK;
    if (size < 0)
        s = import_fails(l, at, shown);
    else if ((size_t)size > WEFT_MESSAGE_LIMIT)
        s = fail_at(l, at, "import: '%s' has %lld bytes, over the limit of %zu", shown,
                    (long long)size, WEFT_MESSAGE_LIMIT);
    *n = (size_t)size;
    *data = s ? NULL : weft_arena_alloc(l->m->arena, *n + 1);
    if (!s)
        s = *data ? weft_read_at(l->ctx, fd, path, *data, *n, 0) : l->ctx->status;
    io->close(io->user, fd);
    return s;
}

/* Names are one space over all files: the second of two equal ones is refused, with both places. */
static weft_status add_modules(loader *l, const model_file *f)
{
    weft_model *m = l->m;
    for (size_t i = 0; i < f->root->n_module; i++) {
        Weft__Module *module = f->root->module[i];
        weft_pos here = position(l, module->name, module);
        char shown[200], where[600];
        if (!module->name || !*module->name)
            return fail_at(l, here, "module %zu has no name", i);
        weft_printable(shown, sizeof shown, module->name);
        int other = weft_map_get(m->modules, module->name, -1);
        if (other >= 0) {
            weft_pos there = position(l, m->module[other]->name, m->module[other]);
            return fail_at(l, here, "module '%s' is already defined at %s", shown,
                           weft_pos_print(where, sizeof where, there));
        }
        l->n_node += module->n_node;
        if (m->n_module == MODULE_LIMIT || l->n_node > NODE_LIMIT)
            return fail_at(l, here, "more than %d %s",
                           m->n_module == MODULE_LIMIT ? MODULE_LIMIT : NODE_LIMIT,
                           m->n_module == MODULE_LIMIT ? "modules" : "nodes");
        if (!WEFT_GROW(m->arena, m->module, m->n_module, m->cap_module) ||
            !weft_map_set(m->modules, module->name, m->n_module))
            return l->ctx->status;
        m->module[m->n_module++] = module;
    }
    return WEFT_OK;
}

/* Registers a parsed file and puts it on the stack. */
static weft_status push_file(loader *l, const char *path, ProtobufCMessage *root)
{
    model_file *f = &l->file[l->n_file];
    *f = (model_file){.path = path, .root = (Weft__Model *)root, .open = true};
    if (!weft_map_set(l->by_path, path, l->n_file))
        return l->ctx->status;
    l->stack[l->depth++] = l->n_file++;
    return add_modules(l, f);
}

/* The chain from the file that is met again to the one that imports it. */
static weft_status cycle(loader *l, weft_pos at, int target)
{
    char chain[1500];
    size_t k = 0;
    int from = 0;
    while (l->stack[from] != target)
        from++;
    for (int i = from; i < l->depth && k < sizeof chain; i++)
        k += (size_t)snprintf(chain + k, sizeof chain - k, "%s -> ", l->file[l->stack[i]].path);
    return fail_at(l, at, "import cycle: %s%s", chain, l->file[target].path);
}

/* One import of an open file: checked, joined, read, pushed. */
static weft_status follow(loader *l, model_file *f, const char *import)
{
    weft_pos at = position(l, import, f->root);
    const bool shipped = weft_is_shipped(f->path);
    const char *fault = path_fault(import),
               *path = fault     ? NULL
                       : shipped ? weft_arena_printf(l->m->arena, "shipped:%s", import)
                                 : join(l->m->arena, f->path, import);
    char shown[500];
    weft_printable(shown, sizeof shown, import);
    if (fault)
        return fail_at(l, at, "import: '%s' %s", shown, fault);
    if (!path)
        return l->ctx->status;
    int known = weft_map_get(l->by_path, path, -1);
    if (known >= 0)
        return l->file[known].open ? cycle(l, at, known) : WEFT_OK;
    if (l->depth == CHAIN_LIMIT || l->n_file == FILE_LIMIT)
        return fail_at(l, at, "import: '%s' would be the %s", shown,
                       l->n_file == FILE_LIMIT ? "257th file of the model"
                                               : "65th file in a chain of imports");
    const char *slash = strrchr(f->path, '/');
    char *data = NULL;
    size_t n = 0;
    ProtobufCMessage *root;
    if (!shipped)
        WEFT_TRY(read_import(l, path, slash ? (size_t)(slash - f->path) + 1 : 0, at, &data, &n));
    if (shipped ? weft_message_load(l->m->arena, &weft__model__descriptor, path, l->m->lines, &root)
                : parse_bytes(l->m->arena, &weft__model__descriptor, data, n, path, l->m->lines,
                              &root)) {
        char where[600];
        return weft_note(l->ctx, "imported at %s", weft_pos_print(where, sizeof where, at));
    }
    return push_file(l, path, root);
}

/* Depth first, as written: the order of modules in a merged file is the order in which a reader
 * meets them. */
static weft_status load_files(loader *l, const char *path)
{
    ProtobufCMessage *root;
    const char *kept = weft_arena_strdup(l->m->arena, path);
    if (!kept)
        return l->ctx->status;
    WEFT_TRY(weft_message_load(l->m->arena, &weft__model__descriptor, path, l->m->lines, &root));
    l->m->root = (Weft__Model *)root;
    WEFT_TRY(push_file(l, kept, root));
    while (l->depth) {
        model_file *f = &l->file[l->stack[l->depth - 1]];
        if (f->next < f->root->n_import) {
            WEFT_TRY(follow(l, f, f->root->import[f->next++]));
        } else {
            f->open = false;
            l->depth--;
        }
    }
    return WEFT_OK;
}

/* ---- entry module and settings ---- */
/* The entry module is named by the first file alone; `main` of an imported file is for its own use.
 */
static weft_status find_main(loader *l)
{
    weft_model *m = l->m;
    const char *name = m->root->main;
    if (!name && m->root->n_module == 1)
        name = m->root->module[0]->name; /* no doubt which one is meant */
    if (!name)
        return fail_at(l, weft_lines_get(m->lines, m->root),
                       "the model has no entry module; add a line like main: \"%s\"",
                       m->n_module ? m->module[0]->name : "name");
    int i = weft_map_get(m->modules, name, -1);
    if (i >= 0) {
        m->main = m->module[i];
        return WEFT_OK;
    }
    const char **names = weft_arena_array(m->arena, (size_t)m->n_module + 1, sizeof *names);
    char hint[300];
    if (!names)
        return l->ctx->status;
    for (int k = 0; k < m->n_module; k++)
        names[k] = m->module[k]->name;
    return fail_at(l, position(l, name, m->root), "main: unknown module '%s'%s", name,
                   weft_suggest(hint, sizeof hint, name, "there are", names, m->n_module));
}

/* The name in front of '=' of "name=value". */
static char *name_of(weft_arena *a, const char *s)
{
    size_t n = strcspn(s, "=");
    while (n && s[n - 1] == ' ')
        n--;
    return weft_arena_strndup(a, s, n);
}

/* The nearest parameter, or all of them. */
static weft_status unknown_parameter(loader *l, const char *name, const char *const *names, int n)
{
    char hint[1000];
    return weft_fail(l->ctx, WEFT_USAGE, "setting %s: module '%s' has no %s%s", name,
                     l->m->main->name, n ? "such parameter" : "parameters",
                     weft_suggest(hint, sizeof hint, name, "known:", names, n));
}

/* The last setting of a name wins: the command line comes behind a recipe. */
static weft_status add_setting(loader *l, const char *text, const char *const *names, int n)
{
    weft_model *m = l->m;
    const char *equals = strchr(text, '=');
    char shown[200];
    if (!equals || equals == text || !equals[1])
        return weft_fail(l->ctx, WEFT_USAGE, "setting '%s': expected name=value, like d=512",
                         weft_printable(shown, sizeof shown, text));
    weft_setting s = {name_of(m->arena, text), weft_arena_strdup(m->arena, equals + 1)};
    if (!s.name || !s.value)
        return l->ctx->status;
    for (int i = 0; i < m->n_set; i++)
        if (!strcmp(m->set[i].name, s.name)) {
            m->set[i] = s;
            return WEFT_OK;
        }
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], s.name)) {
            if (!WEFT_GROW(m->arena, m->set, m->n_set, m->cap_set))
                return l->ctx->status;
            m->set[m->n_set++] = s;
            return WEFT_OK;
        }
    return unknown_parameter(l, s.name, names, n);
}

/* Names of the entry module's parameters, NULL without memory. */
static const char **parameters(const weft_model *m)
{
    const char **names = weft_arena_array(m->arena, m->main->n_param + 1, sizeof *names);
    for (size_t i = 0; names && i < m->main->n_param; i++)
        if (!(names[i] = name_of(m->arena, m->main->param[i])))
            return NULL;
    return names;
}

bool weft_model_near(const weft_model *m, const char *name)
{
    const char **names = parameters(m);
    return names && weft_nearest(name, names, (int)m->main->n_param);
}

/* Names are checked here, before any expression is evaluated; values are expressions, for expand.c.
 */
static weft_status add_settings(loader *l, const char *const *set, int n_set)
{
    const char **names = parameters(l->m);
    if (!names)
        return l->ctx->status;
    for (int i = 0; i < n_set; i++)
        WEFT_TRY(add_setting(l, set[i], names, (int)l->m->main->n_param));
    return WEFT_OK;
}

bool weft_model_has(const weft_model *m, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < m->main->n_param; i++)
        if (!strncmp(m->main->param[i], name, n) && strchr(" =", m->main->param[i][n]))
            return true; /* strchr finds the end, too */
    return false;
}

weft_status weft_model_size(weft_model *m, int64_t batch, int64_t length)
{
    const char *text[2];
    int n = 0;
    if (batch && weft_model_has(m, "B"))
        text[n++] = weft_arena_printf(m->arena, "B=%lld", (long long)batch);
    if (length && weft_model_has(m, "T"))
        text[n++] = weft_arena_printf(m->arena, "T=%lld", (long long)length);
    WEFT_TRY(m->ctx->status);
    return add_settings(&(loader){.m = m, .ctx = m->ctx}, text, n);
}

weft_status weft_model_set(weft_model *m, const char *setting)
{
    return add_settings(&(loader){.m = m, .ctx = m->ctx}, &setting, 1);
}

/* ---- the model ---- */
/* Everything lives in the model's arena, so a failure anywhere needs no cleaning up here. */
static weft_status load_model(weft_model *m, const char *path, const char *const *set, int n_set)
{
    loader *l = weft_arena_alloc(m->arena, sizeof *l);
    if (!l)
        return m->ctx->status;
    *l = (loader){.m = m, .ctx = m->ctx, .by_path = weft_map_new(m->arena)};
    m->modules = weft_map_new(m->arena);
    m->lines = weft_lines_new(m->arena);
    if (!l->by_path || !m->modules || !m->lines)
        return m->ctx->status;
    WEFT_TRY(load_files(l, path));
    WEFT_TRY(find_main(l));
    return add_settings(l, set, n_set);
}

weft_status weft_model_load(weft_ctx *c, const char *path, const char *const *set, int n_set,
                            weft_model **out)
{
    weft_arena *a = weft_arena_new(c, MODEL_BUDGET);
    weft_model *m = a ? weft_arena_alloc(a, sizeof *m) : NULL;
    weft_status s = c->status;
    if (m) {
        m->ctx = c;
        m->arena = a;
        s = load_model(m, path, set, n_set);
    }
    if (s)
        weft_arena_free(a);
    else
        *out = m;
    return s;
}

void weft_model_free(weft_model *m)
{
    if (m)
        weft_arena_free(m->arena);
}

/* The entry module with the settings as defaults, so that the saved file is the model as it was
 * loaded. */
static bool settle(const weft_model *m, Weft__Module *out)
{
    *out = *m->main;
    out->param = weft_arena_array(m->arena, out->n_param + 1, sizeof *out->param);
    if (!out->param)
        return false;
    for (size_t i = 0; i < out->n_param; i++) {
        const char *name = name_of(m->arena, m->main->param[i]);
        out->param[i] = m->main->param[i];
        for (int k = 0; name && k < m->n_set; k++)
            if (!strcmp(m->set[k].name, name))
                out->param[i] = weft_arena_printf(m->arena, "%s=%s", name, m->set[k].value);
        if (!name || !out->param[i])
            return false;
    }
    return true;
}

/* One message that holds all modules; it lives as long as the model. */
static Weft__Model *merge(weft_model *m)
{
    Weft__Model *merged = weft_arena_alloc(m->arena, sizeof *merged);
    Weft__Module *entry = weft_arena_alloc(m->arena, sizeof *entry);
    Weft__Module **module = weft_arena_array(m->arena, (size_t)m->n_module + 1, sizeof *module);
    if (!merged || !entry || !module || !settle(m, entry))
        return NULL;
    for (int i = 0; i < m->n_module; i++)
        module[i] = m->module[i] == m->main ? entry : (Weft__Module *)(uintptr_t)m->module[i];
    weft__model__init(merged);
    merged->doc = m->root->doc;
    merged->main = (char *)(uintptr_t)m->main->name;
    merged->module = module;
    merged->n_module = (size_t)m->n_module;
    return merged;
}

/* The root's doc and name of the entry module; imports are gone, their modules are in. */
weft_status weft_model_save(weft_model *m, const char *path)
{
    Weft__Model *merged = merge(m);
    return merged ? weft_message_save(m->ctx, &merged->base, path) : m->ctx->status;
}

weft_status weft_model_text(weft_model *m, char **out)
{
    weft_string s;
    Weft__Model *merged = merge(m);
    *out = NULL;
    weft_string_init(&s, m->ctx);
    if (!merged || weft_text_print(&merged->base, &s)) {
        weft_string_free(&s);
        return m->ctx->status;
    }
    return weft_string_take(&s, out);
}
