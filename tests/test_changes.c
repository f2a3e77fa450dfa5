/* test_changes.c - a run that is resumed with another setting and killed anywhere: it is the
 * changed run or the old one, whole, never a mixture of both. */
#include <sys/wait.h>

#include "tests/run.h"

static char files[64];

static weft_status resume(weft_ctx *c, const char *dir, const char *recipe, const char *set,
                          int64_t stop_at)
{
    const weft_train_options o = {.dir = dir, .resume = WEFT_RESUME_AUTO, .stop_at = stop_at};
    weft_recipe *r = NULL;
    weft_status s = weft_recipe_load(c, recipe, &set, set != NULL, &r);
    if (!s)
        s = weft_train(r, &o);
    weft_recipe_free(r);
    return s;
}

/* In a process of its own, which ends before call k of the file table, or in the middle of it if
 * that writes. */
static int killed(const char *dir, const char *set, long k, int kind)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        fault f = {.fail_at = k, .kind = kind};
        weft_io io = fault_table(&f);
        weft_ctx *c = weft_open(&(weft_options){.threads = 1, .io = &io});
        weft_status s = c ? resume(c, dir, join(files, "r.txtpb"), set, 0) : WEFT_NOMEM;
        _exit(s ? 1 : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_not_equal(WEXITSTATUS(status), 1);
    return WEXITSTATUS(status);
}

static void train(const char *dir, const char *recipe, const char *set, int64_t stop_at)
{
    weft_ctx *c = weft_open(&(weft_options){.threads = 1});
    if (resume(c, dir, recipe, set, stop_at))
        fail_msg("%s: %s", dir, weft_error(c));
    weft_close(c);
}

static void copy(const char *from, const char *to)
{
    char command[400];
    snprintf(command, sizeof command, "rm -rf %s && cp -r %s %s", to, from, to);
    assert_int_equal(system(command), 0);
}

static bool tells_change(const char *dir)
{
    size_t n;
    char path[128];
    snprintf(path, sizeof path, "%s/log.jsonl", dir);
    unsigned char *text = get_file(path, &n);
    bool tells = memmem(text, n, "\"kind\":\"set\"", 12) != NULL;
    free(text);
    return tells;
}

/* Resumed by its own recipe, the run is one of the two. */
static void check(const char *dir, const char *plain, const char *changed)
{
    char own[128], other[128];
    snprintf(own, sizeof own, "%s/recipe.txtpb", dir);
    train(dir, own, NULL, 0);
    const char *as = tells_change(dir) ? changed : plain;
    same_runs(dir, as);
    snprintf(other, sizeof other, "%s/recipe.txtpb", as);
    same_content(own, other);
}

static void test_killed_anywhere(void **state)
{
    (void)state;
    static const char set[] = "schedule.lr=0.003";
    enum { MANY = 100000 };
    char base[96], plain[96], changed[96], dir[96];
    snprintf(files, sizeof files, "%s", fresh_dir());
    toy_files(files);
    snprintf(base, sizeof base, "%s/base", files);
    snprintf(plain, sizeof plain, "%s/plain", files);
    snprintf(changed, sizeof changed, "%s/changed", files);
    snprintf(dir, sizeof dir, "%s/run", files);
    train(base, join(files, "r.txtpb"), NULL, 4);
    copy(base, plain);
    train(plain, join(files, "r.txtpb"), NULL, 0);
    copy(base, changed);
    train(changed, join(files, "r.txtpb"), set, 0);
    assert_true(tells_change(changed) && !tells_change(plain));
    long k = 1;
    for (; k < MANY; k += 5) {
        copy(base, dir);
        if (!killed(dir, set, k, k % 2 ? FAULT_EXIT : FAULT_TORN))
            break;
        check(dir, plain, changed);
    }
    assert_true(k > 200 && k < MANY);
    remove_dir(files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_killed_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
