/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/base/clock.h"
#include "hvcore/host.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static void names_of_backends_are_exact(void **state)
{
    static const char *const bad[] = { "", "KVM", "kvm ", "tcg", "softly" };
    enum hv_backend backend = HV_BACKEND_SOFT;

    (void)state;
    for (unsigned i = 0; i < HV_ARRAY_SIZE(bad); i++)
        assert_int_equal(hv_backend_parse(bad[i], &backend), -EINVAL);
    assert_int_equal(backend, HV_BACKEND_SOFT);
    for (unsigned i = HV_BACKEND_AUTO; i <= HV_BACKEND_SOFT; i++) {
        assert_int_equal(hv_backend_parse(hv_backend_name(i), &backend), 0);
        assert_int_equal(backend, i);
    }
}

static void assert_is_sane(const struct hv_host_info *info)
{
    assert_true(info->is_kvm_fast <= info->has_kvm);
    assert_int_equal(info->chosen, info->is_kvm_fast ? HV_BACKEND_KVM : HV_BACKEND_SOFT);
    assert_in_range(strlen(info->reason), 20, HV_HOST_REASON_BYTES - 1);
    assert_int_equal(info->reason[strlen(info->reason) - 1], '.');
    assert_in_range(info->max_vps, 1, 64);
    assert_true(info->host_processors >= 1);
    assert_true(info->host_ram_bytes > 0);
    assert_in_range(info->tsc_hz, 100000000, UINT64_C(20000000000));
}

static void the_probe_is_short_and_gives_its_reason(void **state)
{
    uint64_t began = hv_clock_monotonic_ns();
    struct hv_host_info info;

    (void)state;
    hv_host_probe(-1, &info);
    assert_is_sane(&info);
    assert_true(hv_clock_monotonic_ns() - began < 10 * HV_NS_PER_SEC);
}

static void a_descriptor_that_is_no_kvm_means_soft(void **state)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct hv_host_info info;

    (void)state;
    hv_host_probe(fd, &info);
    assert_is_sane(&info);
    assert_false(info.has_kvm);
    assert_int_equal(info.chosen, HV_BACKEND_SOFT);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC); /* still ours */
    hv_close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_backends_are_exact),
        cmocka_unit_test(the_probe_is_short_and_gives_its_reason),
        cmocka_unit_test(a_descriptor_that_is_no_kvm_means_soft),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
