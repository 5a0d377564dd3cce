/* SPDX-License-Identifier: Apache-2.0 */
/* hvadm top: this host's VMs on a whole screen, by what they use, as their workers told last. */
#include "cli/adm.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>

enum { DEFAULT_ROWS = 24, HEAD_ROWS = 4, DEFAULT_INTERVAL_MS = 2000 };

static const struct adm_column columns[] = {
    { "NAME", 18, false }, { "STATE", 8, false },  { "CPU%", 6, true },    { "MEMORY", 9, true },
    { "READ/s", 9, true }, { "WRITE/s", 9, true }, { "EXITS/s", 7, true },
};

enum order { BY_CPU, BY_MEMORY, BY_DISK, BY_EXITS, BY_NAME, N_ORDERS };
static const char *const order_names[N_ORDERS] = { "cpu", "memory", "disk", "exits", "name" };
static const char order_keys[N_ORDERS + 1] = "cmden";

const char *adm_top_order(size_t index)
{
    return index < N_ORDERS ? order_names[index] : NULL;
}

/* What a row shows. Rates are -1 where two figures are missing. */
struct row {
    const struct api_vm_summary *vm;
    double cpu, reads, writes, exits;
};

struct top {
    struct adm *adm;
    uint64_t interval_ms;
    enum order order;
    bool is_once;
    union api_result now, before;
    uint64_t now_ms, before_ms;
};

static volatile sig_atomic_t is_over;
static struct termios saved_terminal;

static uint64_t clock_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Rates */

static const struct api_vm_summary *find_before(const struct top *top, const char *id)
{
    const struct api_vm_summaries *before = &top->before.vm_summaries;

    for (size_t i = 0; i < before->n_vms; i++) {
        if (strcmp(before->vms[i].id, id) == 0)
            return &before->vms[i];
    }
    return NULL;
}

static double rate(uint64_t now, uint64_t before, double seconds)
{
    return now >= before && seconds > 0 ? (double)(now - before) / seconds : -1;
}

static struct row make_row(const struct top *top, const struct api_vm_summary *vm)
{
    const struct api_vm_summary *before = find_before(top, vm->id);
    struct row row = { vm, -1, -1, -1, -1 };
    double seconds;

    if (vm->has & API_VM_SUMMARY_HAS_CPU_PERCENT)
        row.cpu = vm->cpu_percent;
    if (!before || !(vm->has & before->has & API_VM_SUMMARY_HAS_FIGURES))
        return row;
    seconds =
        ((double)(top->now_ms - vm->age_ms) - (double)(top->before_ms - before->age_ms)) / 1e3;
    row.reads = rate(vm->figures.disk_read_bytes, before->figures.disk_read_bytes, seconds);
    row.writes = rate(vm->figures.disk_write_bytes, before->figures.disk_write_bytes, seconds);
    row.exits = rate(vm->figures.exits, before->figures.exits, seconds);
    return row;
}

/* Order: the greatest first, what doesn't run last; names break ties. */

static double weight(const struct row *row, enum order order)
{
    if (!(row->vm->has & API_VM_SUMMARY_HAS_FIGURES))
        return -2;
    switch (order) {
    case BY_CPU: return row->cpu;
    case BY_MEMORY: return (double)row->vm->memory_bytes;
    case BY_DISK: return row->reads + row->writes;
    case BY_EXITS: return row->exits;
    default: return 0;
    }
}

static int compare_rows(const void *a, const void *b, void *opaque)
{
    const struct row *left = a, *right = b;
    enum order order = *(const enum order *)opaque;
    double l = weight(left, order), r = weight(right, order);

    if (order != BY_NAME && l != r)
        return l > r ? -1 : 1;
    return strcmp(left->vm->name, right->vm->name);
}

/* Printing */

static void format_rate(double value, bool is_bytes, char *ret, size_t room)
{
    if (value < 0)
        (void)snprintf(ret, room, "-");
    else if (is_bytes)
        adm_format_bytes((uint64_t)value, ret, room);
    else
        (void)snprintf(ret, room, "%.0f", value);
}

static void print_row(const struct row *row)
{
    char cpu[16] = "-", memory[32], reads[32], writes[32], exits[32];

    if (row->cpu >= 0)
        (void)snprintf(cpu, sizeof(cpu), "%.1f", row->cpu);
    adm_format_bytes(row->vm->memory_bytes, memory, sizeof(memory));
    format_rate(row->reads, true, reads, sizeof(reads));
    format_rate(row->writes, true, writes, sizeof(writes));
    format_rate(row->exits, false, exits, sizeof(exits));
    adm_table_row(columns, HV_ARRAY_SIZE(columns),
                  (const char *[]){ row->vm->name, adm_state_name(row->vm->state), cpu, memory,
                                    reads, writes, exits });
}

static double host_percent(const struct top *top)
{
    const struct api_host_figures *now = &top->now.vm_summaries.host;
    const struct api_host_figures *before = &top->before.vm_summaries.host;
    double wall = (double)(now->uptime_ms - before->uptime_ms) * 1e6 * now->processors;

    return before->uptime_ms && wall > 0 ? 100.0 * (double)(now->busy_ns - before->busy_ns) / wall
                                         : -1;
}

static void print_head(const struct top *top)
{
    const struct api_host_figures *host = &top->now.vm_summaries.host;
    char used[32], all[32], up[32], busy[16] = "-";

    adm_format_bytes(host->memory_bytes - host->memory_available_bytes, used, sizeof(used));
    adm_format_bytes(host->memory_bytes, all, sizeof(all));
    adm_format_duration(host->uptime_ms, up, sizeof(up));
    if (host_percent(top) >= 0)
        (void)snprintf(busy, sizeof(busy), "%.0f%%", host_percent(top));
    (void)printf("CPU %s of %" PRIu32 ", load %.2f, memory %s of %s, up %s\n", busy,
                 host->processors, host->load, used, all, up);
    (void)printf("VMs %" PRIu32 ", %" PRIu32 " running; by %s\n\n", host->vms, host->vms_running,
                 order_names[top->order]);
    adm_table_head(columns, HV_ARRAY_SIZE(columns));
}

static void print_rows(struct top *top, size_t max)
{
    const struct api_vm_summaries *now = &top->now.vm_summaries;
    hv_autofree struct row *rows = calloc(now->n_vms + 1, sizeof(*rows));

    hv_assert(rows);
    for (size_t i = 0; i < now->n_vms; i++)
        rows[i] = make_row(top, &now->vms[i]);
    qsort_r(rows, now->n_vms, sizeof(*rows), compare_rows, &top->order);
    for (size_t i = 0; i < now->n_vms && i < max; i++)
        print_row(&rows[i]);
}

static int read_figures(struct top *top, struct api_error **reterr)
{
    union api_result result;

    if (api_client_get(top->adm->client, API_METHOD_VM_SUMMARIES, NULL, &result, reterr) < 0)
        return -EIO;
    api_vm_summaries_fini(&top->before.vm_summaries);
    top->before = top->now;
    top->before_ms = top->now_ms;
    top->now = result;
    top->now_ms = clock_ms();
    return 0;
}

/* The screen: the terminal's other one, which leaves the user's as it was. Lines that are longer
 * than it is wide are cut by it, not wrapped. */

static void on_signal(int number)
{
    (void)number;
    is_over = 1;
}

static void leave_screen(void)
{
    (void)fputs("\x1b[?7h\x1b[?25h\x1b[?1049l", stdout);
    (void)fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

static int enter_screen(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    struct termios raw;

    if (tcgetattr(STDIN_FILENO, &saved_terminal) < 0)
        return -errno;
    raw = saved_terminal;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGHUP, &action, NULL);
    action.sa_handler = SIG_DFL;
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    (void)fputs("\x1b[?1049h\x1b[?25l\x1b[?7l", stdout);
    return 0;
}

/* How many VMs fit between the head and the last line. */
static size_t screen_vms(void)
{
    struct winsize size;
    bool is_known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row;
    size_t rows = is_known ? size.ws_row : DEFAULT_ROWS;

    return rows > HEAD_ROWS + 1 ? rows - HEAD_ROWS - 1 : 0;
}

static void draw(struct top *top, const struct api_error *error)
{
    hv_autofree char *message = error ? adm_clean(error->message) : NULL;

    (void)fputs("\x1b[H\x1b[J", stdout);
    if (top->now_ms) {
        print_head(top);
        print_rows(top, screen_vms());
    }
    if (message)
        (void)printf("%s Trying again.", message);
    else
        (void)fputs("q quit; by c CPU, m memory, d disk, e exits, n name", stdout);
    (void)fflush(stdout);
}

/* Returns false: leave. */
static bool obey(struct top *top, char key)
{
    const char *place = key ? strchr(order_keys, key) : NULL;

    if (place)
        top->order = (enum order)(place - order_keys);
    return key != 'q' && key != 'Q';
}

/* Until the next refresh is due, or a key asks for another view. False: leave. */
static bool wait_for_key(struct top *top, uint64_t until_ms, const struct api_error *error)
{
    struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
    uint64_t now;
    char key = 0;

    while (!is_over && (now = clock_ms()) < until_ms) {
        if (poll(&input, 1, (int)(until_ms - now)) <= 0)
            continue;
        if (read(STDIN_FILENO, &key, 1) != 1 || !obey(top, key))
            return false;
        draw(top, error);
    }
    return !is_over;
}

static int run_screen(struct top *top)
{
    bool goes_on = true;

    if (enter_screen() < 0)
        return adm_usage("top", "The input is no terminal; --once prints the table and ends.");
    while (goes_on) {
        HV_CLEANUP(api_error_freep) struct api_error *error = NULL;
        uint64_t until_ms = clock_ms() + top->interval_ms;

        (void)read_figures(top, &error);
        draw(top, error);
        goes_on = wait_for_key(top, until_ms, error);
    }
    leave_screen();
    return 0;
}

static int run_once(struct top *top)
{
    struct api_error *error = NULL;

    if (read_figures(top, &error) < 0)
        return adm_fail(top->adm, error);
    print_head(top);
    print_rows(top, SIZE_MAX);
    return 0;
}

static int read_options(struct top *top, int argc, char **argv)
{
    static const struct option names[] = { { "interval", required_argument, NULL, 'i' },
                                           { "sort", required_argument, NULL, 's' },
                                           { "once", no_argument, NULL, 'o' },
                                           { 0 } };
    int id, order;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (id) {
        case 'o': top->is_once = true; break;
        case 'i':
            if (!adm_parse_seconds(optarg, &top->interval_ms) || top->interval_ms < 100)
                return adm_usage("top", "\"%s\" is no interval; seconds from 0.1 up.", optarg);
            break;
        case 's':
            for (order = 0; order < N_ORDERS && strcmp(order_names[order], optarg) != 0; order++)
                ;
            if (order == N_ORDERS)
                return adm_usage("top", "\"%s\" is no order: cpu, memory, disk, exits or name.",
                                 optarg);
            top->order = (enum order)order;
            break;
        default: return adm_bad_option("top", argv);
        }
    }
    return optind < argc ? adm_usage("top", "\"%s\" is too much.", argv[optind]) : 0;
}

int adm_cmd_top(struct adm *adm, int argc, char **argv)
{
    struct top top = { .adm = adm, .interval_ms = DEFAULT_INTERVAL_MS };
    int r = read_options(&top, argc, argv);

    if (r)
        return r;
    if (adm->is_json)
        return adm_call(adm, API_METHOD_VM_SUMMARIES, NULL, NULL);
    r = adm_connect(adm);
    if (r)
        return r;
    r = top.is_once || !isatty(STDOUT_FILENO) ? run_once(&top) : run_screen(&top);
    api_vm_summaries_fini(&top.before.vm_summaries);
    api_vm_summaries_fini(&top.now.vm_summaries);
    return r;
}
