/* signals.h - SIGINT, SIGTERM and SIGHUP as a request: work in hand is finished and saved, then the
 * tool ends. */
#ifndef WEFT_TOOLS_SIGNALS_H
#define WEFT_TOOLS_SIGNALS_H

/* Asks for them from now on. Returns where the library looks: 0, or the signal that came first. A
 * second SIGINT or SIGTERM ends the process at once, with 128 + its number: what is on disk is
 * whole at any time. SIGHUP never does, as a terminal that goes away sends it more than once; under
 * nohup it stays ignored. */
const volatile int *cli_signals(void);

#endif
