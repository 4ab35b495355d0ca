/* A multiboot kernel ([Multiboot] 3.1): entered in 32-bit protected mode, flat, without paging, interrupts off. */
    .text
    .globl _start, message_handler
    .align 4
    .long 0x1BADB002, 0, -0x1BADB002
_start:
    movl $stack_end, %esp
    lgdt gdt_pointer
    ljmp $8, $1f
1:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    pushl %ebx
    call metal_main

/* The queue device's message: the rings say what it was about. */
message_handler:
    movl $0, 0xFEE000B0             /* end of interrupt ([SDM3A] 10.8.5) */
    iret

    .data
    .align 8
gdt:
    .quad 0
    .quad 0x00CF9A000000FFFF        /* code, base 0, 4 GiB */
    .quad 0x00CF92000000FFFF        /* data */
gdt_pointer:
    .word gdt_pointer - gdt - 1
    .long gdt

    .bss
    .align 16
    .skip 16384
stack_end:
    .section .note.GNU-stack,"",@progbits
