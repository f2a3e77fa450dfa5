/* test_locale.c - numbers are read and written the same in a program that has set a locale with a
 * decimal comma. Where none is installed, one is made with localedef; where that is missing, the
 * tests are skipped. */
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "graph/data.h"
#include "graph/ir.h"
#include "graph/json.h"
#include "graph/load.h"

static char folder[] = "/tmp/weft-locale-XXXXXX";
static const char *comma; /* the locale, or NULL */

static bool try_locale(const char *name)
{
    return setlocale(LC_ALL, name) && !strcmp(localeconv()->decimal_point, ",");
}

static int setup(void **state)
{
    static const char *const installed[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "es_ES.UTF-8",
                                            "it_IT.UTF-8", "pt_BR.UTF-8", "nl_NL.UTF-8",
                                            "pl_PL.UTF-8", "ru_RU.UTF-8", "tr_TR.UTF-8"};
    char command[256];
    (void)state;
    for (size_t i = 0; i < sizeof installed / sizeof *installed && !comma; i++)
        comma = try_locale(installed[i]) ? installed[i] : NULL;
    if (!mkdtemp(folder))
        return 1;
    if (!comma) {
        snprintf(command, sizeof command,
                 "localedef -i tr_TR -f UTF-8 %s/tr_TR.UTF-8 >%s/log 2>&1", folder, folder);
        setenv("LOCPATH", folder, 1);
        comma = !system(command) && try_locale("tr_TR.UTF-8") ? "tr_TR.UTF-8" : NULL;
    }
    if (!comma)
        printf("no locale with a decimal comma: skipped\n");
    return 0;
}

static int teardown(void **state)
{
    char command[256];
    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

#define NEEDS_COMMA()                                                                              \
    do {                                                                                           \
        if (!comma)                                                                                \
            skip();                                                                                \
    } while (0)

static void ok(weft_ctx *c, weft_status s)
{
    if (s)
        fail_msg("%s", weft_error(c));
}

/* The whole way of a model: read, expanded, saved flat, read again, printed. */
static char *whole_way(const char *name)
{
    const char *const set[] = {"n_layer=2", "dropout=0.125"};
    char path[256], *text;
    weft_ctx *c = weft_open(NULL);
    weft_model *m, *flat, *again;
    weft_graph *g, *h;
    snprintf(path, sizeof path, "%s/%s.txtpb", folder, name);
    ok(c, weft_model_load(c, "models/gpt2.txtpb", set, 2, &m));
    ok(c, weft_graph_expand(m, &g));
    ok(c, weft_graph_to_model(g, &flat));
    ok(c, weft_model_save(flat, path));
    ok(c, weft_model_load(c, path, NULL, 0, &again));
    ok(c, weft_graph_expand(again, &h));
    ok(c, weft_graph_text(h, &text));
    assert_int_equal(g->n_node, h->n_node);
    char *copy = strdup(text);
    weft_text_free(c, text);
    weft_graph_free(h);
    weft_graph_free(g);
    weft_model_free(again);
    weft_model_free(flat);
    weft_model_free(m);
    weft_close(c);
    return copy;
}

static void test_models(void **state)
{
    (void)state;
    NEEDS_COMMA();
    char *with = whole_way("flat");
    setlocale(LC_ALL, "C");
    char *without = whole_way("flat");
    assert_true(try_locale(comma));
    assert_string_equal(with, without);
    assert_non_null(strstr(with, "p=0.125"));
    free(with);
    free(without);
}

static void test_numbers(void **state)
{
    (void)state;
    NEEDS_COMMA();
    char buf[64], plain[64];
    double v;
    snprintf(plain, sizeof plain, "%g", 0.5);
    assert_string_equal(plain, "0,5"); /* the locale is what it should be */
    assert_true(weft_parse_f64("0.5", &v) && v == 0.5);
    assert_false(weft_parse_f64("0,5", &v));
    assert_string_equal(weft_number_print(buf, sizeof buf, 0.1), "0.1");
    weft_snprintf(buf, sizeof buf, "%.3f %e %d", 1.5, 2.0, 1234567);
    assert_string_equal(buf, "1.500 2.000000e+00 1234567");
    assert_true(weft_same_word("INF", "inf") && !weft_same_word("inf", "inff"));
}

static void test_files(void **state)
{
    (void)state;
    NEEDS_COMMA();
    char path[256], copy[256];
    static const char text[] = "model: \"m.txtpb\"\ndata { train: \"t.bin\" }\n"
                               "schedule { lr: 2.5e-3 min_lr: 0.0001 }\n"
                               "optimizer { clip: INF beta1: 0.875 }\n";
    snprintf(path, sizeof path, "%s/r.txtpb", folder);
    snprintf(copy, sizeof copy, "%s/s.txtpb", folder);
    FILE *f = fopen(path, "w");
    assert_true(f && fputs(text, f) >= 0 && !fclose(f));
    const char *const set[] = {"optimizer.clip=0.75", "schedule.lr=1.5e-3"};
    weft_ctx *c = weft_open(NULL);
    weft_recipe *r, *s;
    ok(c, weft_recipe_load(c, path, set, 2, &r));
    ok(c, weft_recipe_save(r, copy, "m.txtpb"));
    ok(c, weft_recipe_load(c, copy, NULL, 0, &s));
    char saved[4096] = "";
    f = fopen(copy, "r");
    assert_true(f && fread(saved, 1, sizeof saved - 1, f) > 0 && !fclose(f));
    for (const char *p = saved; (p = strchr(p, ',')); p++)
        assert_false(p > saved && p[-1] >= '0' && p[-1] <= '9');
    assert_non_null(strstr(saved, "lr: 0.0015"));
    assert_non_null(strstr(saved, "clip: 0.75"));
    weft_recipe_free(s);
    weft_recipe_free(r);
    weft_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
