/* SPDX-License-Identifier: Apache-2.0 */
/*
 * State of one virtual processor, and of what a partition's VPs share, the same for every backend.
 *
 * Read and written only while no VP is in hv_vp_run. Field names and attribute layout follow
 * the AMD64 manual, volume 2.
 */
#pragma once

#include <stdint.h>

enum hv_gpr {
    HV_RAX,
    HV_RCX,
    HV_RDX,
    HV_RBX,
    HV_RSP,
    HV_RBP,
    HV_RSI,
    HV_RDI,
    HV_R8,
    HV_R9,
    HV_R10,
    HV_R11,
    HV_R12,
    HV_R13,
    HV_R14,
    HV_R15,
    HV_N_GPRS
};

enum hv_segment { HV_ES, HV_CS, HV_SS, HV_DS, HV_FS, HV_GS, HV_N_SEGMENTS };

/* A segment register with its hidden part. attributes: bits 0-3 type, 4 S, 5-6 DPL, 7 P, 8 AVL,
 * 9 L, 10 D/B, 11 G (the descriptor's bits 40-47 and 52-55). limit is in bytes, already scaled. */
struct hv_segment_register {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint16_t attributes;
};

enum {
    HV_SEG_TYPE = 0x000f,
    HV_SEG_S = 0x0010,
    HV_SEG_DPL_SHIFT = 5,
    HV_SEG_P = 0x0080,
    HV_SEG_L = 0x0200,
    HV_SEG_DB = 0x0400,
    HV_SEG_G = 0x0800
};

struct hv_table_register {
    uint64_t base;
    uint16_t limit;
};

enum { HV_XSAVE_BYTES = 4096, HV_LAPIC_PAGE_BYTES = 1024 };

/* What the VP waits for. */
enum hv_activity {
    HV_ACTIVITY_ACTIVE,
    HV_ACTIVITY_HALTED,
    HV_ACTIVITY_WAIT_FOR_SIPI /* an application processor before INIT-SIPI */
};

enum { HV_STATE_SINTS = 16, HV_STATE_STIMERS = 4, HV_STATE_MESSAGES = 64 };

/* A message that waits for the slot of its SINT. */
struct hv_message_state {
    uint32_t sint;
    uint32_t type;
    uint32_t bytes;
    uint8_t payload[240];
};

/* A synthetic timer; times are reference times (100 ns). */
struct hv_stimer_state {
    uint64_t config; /* as its MSRs hold them */
    uint64_t count;
    uint64_t due;         /* the next expiry, or 0 */
    uint64_t message_due; /* expiry that a message which waits will tell of, or 0: none waits */
};

/* The synthetic interrupt controller: MSRs as the guest reads them, and what waits. Flags and
 * delivered messages are in guest RAM. */
struct hv_synic_state {
    uint64_t control, siefp, simp;
    uint64_t sint[HV_STATE_SINTS]; /* 0: masked, as at power-up */
    struct hv_stimer_state stimer[HV_STATE_STIMERS];
    uint32_t n_messages;
    struct hv_message_state message[HV_STATE_MESSAGES]; /* in order of arrival */
};

/* Machine registers that no processor here acts on, but that a guest reads back. */
struct hv_machine_msrs {
    uint64_t mtrr_default;
    uint64_t mtrr_variable[16];
    uint64_t mtrr_fixed[11];
    uint64_t mcg_status;
    uint64_t misc_enable;
    uint64_t debugctl;
    uint64_t hwcr;
    uint64_t syscfg;
    uint64_t top_mem[2];
    uint64_t ls_cfg;
    uint64_t nb_cfg;
};

struct hv_vp_state {
    uint64_t gpr[HV_N_GPRS];
    uint64_t rip;
    uint64_t rflags;
    struct hv_segment_register segment[HV_N_SEGMENTS];
    struct hv_segment_register ldtr;
    struct hv_segment_register tr;
    struct hv_table_register gdtr;
    struct hv_table_register idtr;
    uint64_t cr0, cr2, cr3, cr4, cr8;
    uint64_t efer;
    uint64_t xcr0;
    uint64_t dr[4], dr6, dr7;
    uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t tsc_aux;
    uint64_t pat;
    uint64_t tsc; /* the guest's TSC at the moment of reading */
    uint64_t tsc_deadline;
    uint64_t apic_base;       /* IA32_APIC_BASE */
    uint8_t activity;         /* enum hv_activity */
    uint8_t interrupt_shadow; /* 1: after sti or mov ss, external interrupts are held off */
    uint8_t nmi_blocked;
    uint8_t nmi_pending;
    /* An external interrupt that its controller has handed over and whose delivery was put off:
     * its vector, or 0. */
    uint8_t interrupt_in_flight;
    uint8_t xsave[HV_XSAVE_BYTES];      /* standard XSAVE format */
    uint8_t lapic[HV_LAPIC_PAGE_BYTES]; /* the APIC register page, offsets as in xAPIC mode */
    struct hv_synic_state synic;
    struct hv_machine_msrs machine;
    uint64_t vp_assist;  /* HV_X64_MSR_VP_ASSIST_PAGE */
    uint64_t runtime_ns; /* processor time used */
};

/* What the VPs of a partition share: synthetic MSRs, and the clock. */
struct hv_partition_state {
    uint64_t guest_os_id;
    uint64_t hypercall;
    uint64_t reference_tsc;
    uint64_t crash[5];
    uint64_t tsc; /* the clock, as guest TSC */
};
