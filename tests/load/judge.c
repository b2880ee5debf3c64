/* Figures with a goal.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "tests/load/judge.h"

#include "tests/bench/load.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned passed, failed;

static void count(const char *name, int good)
{
    passed += good != 0;
    failed += good == 0;
    if (!good) {
        printf("FAILED  %s\n", name);
    }
}

void judge_at_most(const char *name, double value, double most, const char *unit)
{
    bench_print(name, value, unit, "goal <= %g", most);
    count(name, value <= most);
}

void judge_at_least(const char *name, double value, double least, const char *unit)
{
    bench_print(name, value, unit, "goal >= %g", least);
    count(name, value >= least);
}

int judge_close(void)
{
    double load[1] = {0};
    if (getloadavg(load, 1) == 1) {
        printf("load of the machine: %.1f\n", load[0]);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0;
}
