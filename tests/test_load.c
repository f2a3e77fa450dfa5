/* test_load.c - model files: imports and what they may not do, entry module, settings, saving,
 * sniffing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/io.h"
#include "graph/load.h"

#define TOP WEFT_BINARY_DIR "/test_load.tmp"

static weft_ctx *ctx;
static weft_arena *arena;
static char old_folder[4096];

/* Each test works in a fresh folder, so that messages hold short paths. */
static int setup(void **state)
{
    (void)state;
    ctx = weft_open(NULL);
    arena = weft_arena_new(ctx, 0);
    return !getcwd(old_folder, sizeof old_folder) || weft_remove_tree(ctx, TOP) ||
           weft_make_dirs(ctx, TOP "/m/sub") || chdir(TOP "/m");
}

static int teardown(void **state)
{
    (void)state;
    if (chdir(old_folder) || weft_remove_tree(ctx, TOP))
        return 1;
    weft_arena_free(arena);
    weft_close(ctx);
    return 0;
}

static void put(const char *path, const char *text)
{
    assert_int_equal(weft_write_file(ctx, path, text, strlen(text)), WEFT_OK);
}

static weft_model *load_set(const char *path, const char *const *set, int n_set)
{
    weft_model *m = NULL;
    if (weft_model_load(ctx, path, set, n_set, &m))
        fail_msg("%s", weft_error(ctx));
    return m;
}

static void refuse_set(const char *path, const char *const *set, int n_set, weft_status status,
                       const char *message)
{
    weft_model *m = NULL;
    weft_status s = weft_model_load(ctx, path, set, n_set, &m);
    assert_string_equal(weft_error(ctx), message);
    assert_int_equal(s, status);
    assert_null(m);
    weft_error_clear(ctx);
}

static void refuse(const char *path, const char *message)
{
    refuse_set(path, NULL, 0, WEFT_MALFORMED, message);
}

/* ---- imports ---- */
static void test_imports(void **state)
{
    (void)state;
    put("a.txtpb",
        "import: ['b.txtpb', './sub//c.txtpb', 'b.txtpb'] main: 'c' module { name: 'a' }");
    put("b.txtpb", "import: 'sub/c.txtpb' module { name: 'b' }"); /* c again: read once */
    put("sub/c.txtpb", "import: 'd.txtpb' main: 'ignored' module { name: 'c' param: 'n=1' }");
    put("sub/d.txtpb", "module { name: 'd' }");
    weft_model *m = load_set("a.txtpb", NULL, 0);
    assert_int_equal(m->n_module, 4);
    assert_string_equal(m->module[0]->name, "a");
    assert_string_equal(m->main->name, "c");
    assert_string_equal(weft_lines_get(m->lines, m->main).file, "sub/c.txtpb");
    weft_model_free(m);
    m = load_set(TOP "/m/a.txtpb", NULL, 0); /* from anywhere */
    assert_string_equal(weft_lines_get(m->lines, m->main).file, TOP "/m/sub/c.txtpb");
    weft_model_free(m);
}

static void test_cycles(void **state)
{
    (void)state;
    put("a.txtpb", "import: 'b.txtpb' module { name: 'a' }");
    put("b.txtpb", "module { name: 'b' }\n  import: 'sub/../a.txtpb'");
    refuse("a.txtpb", "b.txtpb:2:11: import: 'sub/../a.txtpb' leaves the folder with '..'; imports "
                      "stay below the importing file");
    put("b.txtpb", "module { name: 'b' }\n  import: './c.txtpb'");
    put("c.txtpb", "import: 'b.txtpb'");
    refuse("a.txtpb", "c.txtpb:1:9: import cycle: b.txtpb -> c.txtpb -> b.txtpb");
    put("c.txtpb", "import: 'a.txtpb'");
    refuse("a.txtpb", "c.txtpb:1:9: import cycle: a.txtpb -> b.txtpb -> c.txtpb -> a.txtpb");
    put("a.txtpb", "import: 'a.txtpb'");
    refuse("a.txtpb", "a.txtpb:1:9: import cycle: a.txtpb -> a.txtpb");
}

static void refuse_import(const char *import, weft_status status, const char *message)
{
    put("a.txtpb", weft_arena_printf(arena, "import: '%s' module { name: 'a' }", import));
    refuse_set("a.txtpb", NULL, 0, status,
               weft_arena_printf(arena, "a.txtpb:1:9: import: %s", message));
}

static void test_bad_imports(void **state)
{
    (void)state;
    put("b.txtpb", "module { name: 'b' }");
    put("../outside.txtpb", "module { name: 'outside' }");
    assert_int_equal(symlink("../outside.txtpb", "link.txtpb"), 0);
    assert_int_equal(symlink("b.txtpb", "inner.txtpb"), 0);
    assert_int_equal(symlink("..", "up"), 0);
    assert_int_equal(mkfifo("fifo.txtpb", 0600), 0);
    refuse_import("none.txtpb", WEFT_MISSING,
                  "'none.txtpb' cannot be read: No such file or directory");
    refuse_import("none/b.txtpb", WEFT_MISSING,
                  "'none/b.txtpb' cannot be read: No such file or directory");
    refuse_import("/etc/passwd", WEFT_MALFORMED,
                  "'/etc/passwd' is absolute; imports are relative to the importing file");
    refuse_import(
        "../outside.txtpb", WEFT_MALFORMED,
        "'../outside.txtpb' leaves the folder with '..'; imports stay below the importing file");
    refuse_import(
        "link.txtpb", WEFT_MALFORMED,
        "'link.txtpb' is a symbolic link; imports are regular files below the importing file");
    refuse_import(
        "inner.txtpb", WEFT_MALFORMED,
        "'inner.txtpb' is a symbolic link; imports are regular files below the importing file");
    refuse_import(
        "up/outside.txtpb", WEFT_MALFORMED,
        "'up/outside.txtpb' is reached through a symbolic link or a file that is no folder");
    refuse_import(
        "b.txtpb/c.txtpb", WEFT_MALFORMED,
        "'b.txtpb/c.txtpb' is reached through a symbolic link or a file that is no folder");
    refuse_import("sub", WEFT_MALFORMED, "'sub' is a folder");
    refuse_import("sub/", WEFT_MALFORMED, "'sub/' names no file");
    refuse_import("", WEFT_MALFORMED, "'' names no file");
    refuse_import("fifo.txtpb", WEFT_MALFORMED, "'fifo.txtpb' is no regular file");
    refuse_import("a\\nb", WEFT_MALFORMED, "'a\\nb' holds a control character");
}

static void test_errors_in_imports(void **state)
{
    (void)state;
    put("a.txtpb", "\nimport: 'sub/b.txtpb' module { name: 'a' }");
    put("sub/b.txtpb", "module {\n  nam: 'b' }");
    refuse("a.txtpb", "sub/b.txtpb:2:3: module[0]: unknown field 'nam' of Module; did you mean "
                      "'name'?\n  imported at "
                      "a.txtpb:2:9");
    put("sub/b.txtpb", "");
    refuse("a.txtpb", "sub/b.txtpb: the file is empty, expected a Model as text or packed\n  "
                      "imported at a.txtpb:2:9");
    put("sub/b.txtpb", "module { name: 'b' }\nmodule { name: 'a' }");
    refuse("a.txtpb", "sub/b.txtpb:2:16: module 'a' is already defined at a.txtpb:2:38");
}

static void test_long_chain(void **state)
{
    (void)state;
    for (int i = 0; i < 70; i++)
        put(weft_arena_printf(arena, "c%d.txtpb", i),
            weft_arena_printf(arena, "import: 'c%d.txtpb' module { name: 'm%d' }", i + 1, i));
    put("c70.txtpb", "");
    refuse("c0.txtpb",
           "c63.txtpb:1:9: import: 'c64.txtpb' would be the 65th file in a chain of imports");
    weft_string all;
    weft_string_init(&all, ctx);
    for (int i = 0; i < 300; i++) {
        put(weft_arena_printf(arena, "w%d.txtpb", i), "doc: 'x'");
        weft_string_printf(&all, "import: 'w%d.txtpb'\n", i);
    }
    put("wide.txtpb", all.s);
    weft_string_free(&all);
    refuse("wide.txtpb",
           "wide.txtpb:256:9: import: 'w255.txtpb' would be the 257th file of the model");
}

/* ---- modules ---- */
static void test_modules(void **state)
{
    (void)state;
    put("a.txtpb", "module { name: 'a' }");
    weft_model *m = load_set("a.txtpb", NULL, 0); /* a single module needs no main */
    assert_string_equal(m->main->name, "a");
    weft_model_free(m);
    put("a.txtpb", "module { name: 'a' }\nmodule { name: 'b' }");
    refuse("a.txtpb", "a.txtpb:1:1: the model has no entry module; add a line like main: \"a\"");
    put("a.txtpb", "# nothing\n");
    refuse("a.txtpb", "a.txtpb:1:1: the model has no entry module; add a line like main: \"name\"");
    put("a.txtpb", "main: 'blokc'\nmodule { name: 'block' }");
    refuse("a.txtpb", "a.txtpb:1:7: main: unknown module 'blokc'; did you mean 'block'?");
    put("a.txtpb", "main: 'zzzzzz'\nmodule { name: 'block' }");
    refuse("a.txtpb", "a.txtpb:1:7: main: unknown module 'zzzzzz'; there are block");
    put("a.txtpb", "module { name: 'a' }\nmodule { name: 'b' }\n\nmodule {\n  name: 'a' }");
    refuse("a.txtpb", "a.txtpb:5:9: module 'a' is already defined at a.txtpb:1:16");
    put("a.txtpb", "module { name: 'a' }\n  module { doc: 'no name' }");
    refuse("a.txtpb", "a.txtpb:2:3: module 1 has no name");
    put("a.txtpb", "module { name: '' }");
    refuse("a.txtpb", "a.txtpb:1:16: module 0 has no name");
    refuse_set("none.txtpb", NULL, 0, WEFT_MISSING,
               "cannot open none.txtpb: No such file or directory");
}

static void test_counts(void **state)
{
    (void)state;
    weft_string s;
    weft_string_init(&s, ctx);
    for (int i = 0; i < 10001; i++)
        weft_string_printf(&s, "module { name: 'm%d' }\n", i);
    put("a.txtpb", s.s);
    refuse("a.txtpb", "a.txtpb:10001:16: more than 10000 modules");
    weft_string_free(&s);
    weft_string_init(&s, ctx);
    weft_string_printf(&s, "module { name: 'm' ");
    for (int i = 0; i < 1000001; i++)
        weft_string_printf(&s, "node{op:'a'}");
    weft_string_printf(&s, "}");
    put("a.txtpb", s.s);
    weft_string_free(&s);
    refuse("a.txtpb", "a.txtpb:1:16: more than 1000000 nodes");
}

/* ---- settings ---- */
static void test_settings(void **state)
{
    (void)state;
    put("a.txtpb", "main: 'a' module { name: 'a' param: ['d=768', 'n_layer = 12', 'ctx'] } module "
                   "{ name: 'b' param: 'x' }");
    const char *const good[] = {"d=64", "n_layer=2", "d=d/2"};
    weft_model *m = load_set("a.txtpb", good, 3);
    assert_int_equal(m->n_set, 2);
    assert_string_equal(m->set[0].name, "d");
    assert_string_equal(m->set[0].value, "d/2"); /* the last one wins */
    assert_string_equal(m->set[1].name, "n_layer");
    weft_model_free(m);
    static const char *const bad[][2] = {
        {"n_layr=2", "setting n_layr: module 'a' has no such parameter; did you mean 'n_layer'?"},
        {"vocabulary=2",
         "setting vocabulary: module 'a' has no such parameter; known: d, n_layer, ctx"},
        {"x=2", "setting x: module 'a' has no such parameter; known: d, n_layer, ctx"},
        {"d", "setting 'd': expected name=value, like d=512"},
        {"d=", "setting 'd=': expected name=value, like d=512"},
        {"=5", "setting '=5': expected name=value, like d=512"},
        {"", "setting '': expected name=value, like d=512"},
        {"\n=5", "setting \\n: module 'a' has no such parameter; known: d, n_layer, ctx"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse_set("a.txtpb", &bad[i][0], 1, WEFT_USAGE, bad[i][1]);
    put("a.txtpb", "module { name: 'a' }");
    refuse_set("a.txtpb", &bad[0][0], 1, WEFT_USAGE,
               "setting n_layr: module 'a' has no parameters");
}

/* ---- saving ---- */
static char *slurp(const char *path, size_t *n)
{
    char *s;
    assert_int_equal(weft_read_file(arena, path, 1 << 20, &s, n), WEFT_OK);
    return s;
}

static void test_save(void **state)
{
    (void)state;
    size_t n, n_again;
    put("a.txtpb", "doc: 'two files' import: 'sub/b.txtpb' main: 'a'\n"
                   "module { name: 'a' param: 'd = 8' param: 'e' node { call: 'b' } }");
    put("sub/b.txtpb", "doc: 'part' main: 'b' module { name: 'b' }");
    const char *const set[] = {"d=4*2", "e=3"};
    weft_model *m = load_set("a.txtpb", set, 2);
    assert_int_equal(weft_model_save(m, "merged.txtpb"), WEFT_OK);
    assert_int_equal(weft_model_save(m, "merged.binpb"), WEFT_OK);
    weft_model_free(m);
    assert_string_equal(slurp("merged.txtpb", &n),
                        "doc: \"two files\"\n"
                        "main: \"a\"\n"
                        "module { name: \"a\" param: [\"d=4*2\", \"e=3\"] node { call: \"b\" } }\n"
                        "module { name: \"b\" }\n");
    m = load_set("merged.binpb", NULL, 0); /* text -> binary -> text: a fixed point */
    assert_int_equal(weft_lines_get(m->lines, m->main).line, 0);
    assert_string_equal(weft_lines_get(m->lines, m->main).file, "merged.binpb");
    assert_int_equal(weft_model_save(m, "again.txtpb"), WEFT_OK);
    weft_model_free(m);
    assert_string_equal(slurp("again.txtpb", &n_again), slurp("merged.txtpb", &n));
    m = load_set("again.txtpb", NULL, 0);
    assert_int_equal(weft_model_save(m, "again.binpb"), WEFT_OK);
    assert_int_equal(weft_model_save(m, "made/for/x.txtpb"), WEFT_OK);
    assert_int_equal(weft_model_save(m, "merged.binpb/x.txtpb"), WEFT_CANTCREATE);
    weft_error_clear(ctx);
    weft_model_free(m);
    const char *first = slurp("merged.binpb", &n), *second = slurp("again.binpb", &n_again);
    assert_int_equal(n, n_again);
    assert_memory_equal(second, first, n);
}

/* ---- text or binary: by content, not by name ---- */
static void test_sniffing(void **state)
{
    (void)state;
    size_t n;
    put("a.txtpb", "module { name: 'a' }");
    weft_model *m = load_set("a.txtpb", NULL, 0);
    assert_int_equal(weft_model_save(m, "a.binpb"), WEFT_OK);
    weft_model_free(m);
    char *packed = slurp("a.binpb", &n);
    assert_int_equal(weft_write_file(ctx, "bin.txtpb", packed, n), WEFT_OK);
    assert_int_equal(weft_write_file(ctx, "bin", packed, n), WEFT_OK);
    put("text.binpb", "\n\n# text all the same\nmodule { name: 'a' }");
    put("text", "module { name: 'a' }");
    static const char *const all[] = {"a.binpb", "bin.txtpb", "bin", "text.binpb", "text"};
    for (int i = 0; i < 5; i++) {
        m = load_set(all[i], NULL, 0);
        assert_string_equal(m->main->name, "a");
        weft_model_free(m);
    }
    put("x.txtpb",
        "module { name: 'a\001' \002 }"); /* broken: the suffix says which reader complains */
    refuse("x.txtpb", "x.txtpb:1:21: module[0].name: unexpected byte 0x02 outside a string");
    assert_int_equal(weft_write_file(ctx, "x.binpb", packed, n - 1), WEFT_OK);
    refuse("x.binpb",
           "x.binpb@4: module[0]: length 3 goes beyond the end of its message: 2 bytes are left");
    put("x.binpb", "");
    refuse("x.binpb", "x.binpb: the file is empty, expected a Model as text or packed");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_imports),     TEST(test_cycles),
        TEST(test_bad_imports), TEST(test_errors_in_imports),
        TEST(test_long_chain),  TEST(test_modules),
        TEST(test_counts),      TEST(test_settings),
        TEST(test_save),        TEST(test_sniffing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
