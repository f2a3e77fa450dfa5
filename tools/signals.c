/* signals.c - SIGINT, SIGTERM and SIGHUP as a request to stop. */
#include "tools/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

/* Signals can reach nothing but file-scope variables. */
static volatile int caught, asked; /* asked: SIGINT or SIGTERM came */

static void on_signal(int number)
{
    if (asked && number != SIGHUP)
        _exit(128 + number);
    asked |= number != SIGHUP;
    if (!caught)
        caught = number;
}

const volatile int *cli_signals(void)
{
    /* SA_RESTART: writing must not fail because somebody wants it to be the last. */
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&a.sa_mask);
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    struct sigaction before;
    if (!sigaction(SIGHUP, NULL, &before) && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &a, NULL);
    return &caught;
}
