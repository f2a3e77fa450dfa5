/* test_waiting.c - threads that wait spin for a bounded time, unless the user's environment says
 * how: this program starts itself as `child`, which does what main of the tool does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph/weft.h"

/* clang's runtime has these; with gcc's they are not there. */
extern int kmp_get_blocktime(void) __attribute__((weak));

static const char *self;

/* What the child says under `environment`: "spin=... block=... args=...". */
static void child(const char *environment, char out[256])
{
    char command[1024];
    snprintf(command, sizeof command,
             "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT -u KMP_BLOCKTIME -u KMP_LIBRARY %s '%s' "
             "child 'a b' ''",
             environment, self);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, 255, f);
    out[n] = 0;
    assert_int_equal(pclose(f), 0);
}

static int be_child(int argc, char **argv)
{
    weft_waiting_bound(argv);
    weft_ctx *c = weft_open(NULL);
    if (!c)
        return 1;
    const char *spin = getenv("GOMP_SPINCOUNT");
    printf("spin=%s block=%d args=%d '%s'", spin ? spin : "none",
           kmp_get_blocktime ? kmp_get_blocktime() : -1, argc, argv[2]);
    weft_close(c);
    return 0;
}

static void test_bounded(void **state)
{
    (void)state;
    char out[256];
    long long spin = 0;
    child("", out);
    if (kmp_get_blocktime) {
        assert_non_null(strstr(out, "spin=none block=1 "));
    } else {
        assert_int_equal(sscanf(out, "spin=%lld", &spin), 1);
        assert_in_range(spin, 100, 300000); /* gcc's own would be 300,000 */
    }
    assert_non_null(strstr(out, "args=4 'a b'")); /* the arguments came through */
}

static void test_user_decides(void **state)
{
    (void)state;
    static const char *const says[] = {"OMP_WAIT_POLICY=active", "GOMP_SPINCOUNT=77",
                                       "KMP_BLOCKTIME=33"};
    for (int i = 0; i < 3; i++) {
        char out[256];
        child(says[i], out);
        assert_non_null(strstr(out, i == 1 ? "spin=77 " : "spin=none "));
        if (kmp_get_blocktime && i == 2)
            assert_non_null(strstr(out, "block=33 "));
        if (kmp_get_blocktime && i != 2)
            assert_null(strstr(out, "block=1 "));
    }
}

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "child"))
        return be_child(argc, argv);
    self = argv[0];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounded),
                                       cmocka_unit_test(test_user_decides)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
