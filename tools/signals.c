/* signals.c - SIGINT and SIGTERM as a request to stop. */
#include "tools/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/* Signals can reach nothing but file-scope variables. */
static volatile int caught;

static void on_signal(int number)
{
    if (caught)
        _exit(128 + number);
    caught = number;
}

const volatile int *cli_signals(void)
{
    /* SA_RESTART: writing must not fail because somebody wants it to be the last. */
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    return &caught;
}
