; A bare-metal program that goes through the processor's modes and writes down what happens: every line is what an
; instruction left behind, or the exception it met (vector, error code, CS:IP, system flags). The same image runs in
; Backplane's interpreter and in QEMU, and both must write the same (README.md).
;
; It is a firmware image of 64 KiB: it copies itself to 10000h and goes on there, with 1000h as its real-mode segment
; and segments of base 10000h in protected mode, so that all labels are offsets from the image's start.
;
; Ports: e9h takes a character, f4h ends the run.

        cpu     x64
        org     0
BASE    equ     0x10000

; --- selectors -------------------------------------------------------------------------------------------------------
K_CODE  equ     0x08            ; ring 0, 32 bits, base 10000h
K_DATA  equ     0x10
FLAT    equ     0x18            ; ring 0 data, base 0
U_CODE  equ     0x20 | 3        ; ring 3
U_DATA  equ     0x28 | 3
K_CODE16 equ    0x30            ; ring 0, 16 bits
CONFORM equ     0x38            ; ring 0 conforming code
RO_DATA equ     0x40
ABSENT  equ     0x48            ; data, not present
XO_CODE equ     0x50            ; execute only
LDT_SEL equ     0x58
TSS_A   equ     0x60            ; the running task
TSS_B   equ     0x68            ; 32 bits
TSS_C   equ     0x70            ; 16 bits
GATE32  equ     0x78 | 3        ; call gate, DPL 3, two parameters
GATE16  equ     0x80 | 3
GATE_C  equ     0x88 | 3        ; call gate to conforming code
GATE_NP equ     0x90 | 3        ; not present
GATE_0  equ     0x98            ; call gate, DPL 0
TASKG   equ     0xa0 | 3        ; task gate to TSS_B
R1_CODE equ     0xa8 | 1
R1_DATA equ     0xb0 | 1
K_DATA16 equ    0xb8            ; a stack of 16 bits
EMPTY   equ     0xc0
TSS_S   equ     0xc8            ; a TSS that is too small
GATE_T  equ     0xd0 | 3        ; call gate whose selector is a data segment
SYS_CS  equ     0xd8            ; SYSENTER: four flat descriptors
GDT_END equ     0xf8
LDT_DATA equ    0x04            ; LDT entry 0: data, DPL 0
LDT_UDATA equ   0x0c | 3        ; LDT entry 1: data, DPL 3

; --- memory ----------------------------------------------------------------------------------------------------------
IDT32   equ     0x8000          ; offsets from BASE
STACK0  equ     0xc000          ; ring 0
STACK0I equ     0xb000          ; ring 0, entered from outer rings
STACK1  equ     0xa800
STACK3  equ     0xa000
STACKV  equ     0x9800          ; offset in the virtual-8086 segment
STACKB  equ     0x9000          ; of the other tasks
PAGES   equ     0x40000         ; page tables, physical

; --- real mode -------------------------------------------------------------------------------------------------------
        bits    16
start:  cli
        cld
        mov     ax, 0xf000
        mov     ds, ax
        mov     ax, 0x1000
        mov     es, ax
        xor     si, si
        xor     di, di
        mov     cx, 0x8000
        rep movsw
        jmp     0x1000:real_main

%include "log16.inc"

; One attempt: what the instruction did, or the exception it met.
%macro  T16 1+
        mov     word [resume], %%after
        mov     [saved_sp], sp
        %1
        call    log_done16
%%after:
%endmacro
%macro  LOG16 2                 ; a character and a 32-bit value
        push    eax
        mov     eax, %2
        push    eax
        mov     al, %1
        call    log_char16
        pop     eax
        call    log_hex16
        call    log_space16
        pop     eax
%endmacro
%macro  LINE16 0
        call    log_line16
%endmacro

real_main:
        mov     ax, 0x1000
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, STACK0
        ; the interrupt vector table
        xor     ax, ax
        mov     fs, ax
        xor     bx, bx
        mov     ax, real_stubs
.fill:  mov     [fs:bx], ax
        mov     word [fs:bx+2], 0x1000
        add     ax, 6
        add     bx, 4
        cmp     bx, 0x30 * 4
        jb      .fill

        LOG16   'r', esp
        LINE16
        ; exceptions: what they push
        xor     dx, dx
        mov     ax, 5
        xor     cx, cx
        T16     div cx
        T16     ud2
        T16     int3
        T16     int 0x21
        mov     al, 0x7f
        add     al, 1
        T16     into
        xor     al, al
        T16     into
        mov     eax, 5
        T16     bound ax, [limits16]
        mov     ax, 50
        T16     bound ax, [limits16]
        mov     ax, -1
        T16     bound ax, [limits16]
        T16     lldt ax
        T16     ltr ax
        T16     str ax
        T16     sldt ax
        T16     db 0x63, 0xc0          ; arpl ax, ax
        T16     lar ax, cx
        T16     verr ax
        xor     eax, eax
        smsw    ax
        LOG16   's', eax
        LINE16

        ; flags
        push    word 0xfeff
        popf
        pushf
        pop     ax
        cld
        cli
        and     eax, 0xffd7 & ~0x100
        LOG16   'f', eax
        push    word 2
        popf
        pushf
        pop     ax
        movzx   eax, ax
        LOG16   'f', eax
        pushfd
        pop     eax
        LOG16   'f', eax
        LINE16

        ; the stack
        mov     eax, 0x11112222
        mov     ebx, 0x33334444
        mov     ecx, 0x55556666
        mov     edx, 0x77778888
        mov     esi, 0x9999aaaa
        mov     edi, 0xbbbbcccc
        mov     ebp, 0xddddeeee
        pusha
        mov     bp, sp
        mov     ax, [bp+6]              ; the saved SP
        movzx   eax, ax
        LOG16   'p', eax
        mov     ax, [bp]
        LOG16   'p', eax
        popa
        LOG16   'a', eax
        LOG16   'i', edi
        pushad
        mov     eax, [esp+12]
        LOG16   'p', eax
        popad
        LOG16   'b', ebp
        mov     bp, sp
        mov     [bp-2], sp
        push    sp
        pop     ax
        sub     ax, bp
        LOG16   'q', eax
        mov     ebp, 0x12345678
        mov     bx, sp
        enter   8, 3
        movzx   eax, bp
        LOG16   'e', eax
        movzx   eax, sp
        LOG16   'e', eax
        mov     bp, bx
        mov     sp, bx
        enter   4, 0
        leave
        movzx   eax, sp
        LOG16   'l', eax
        LINE16

        ; far transfers
        call    0x1000:far_target
        push    word 0x77
        push    word 0x88
        call    far [far_pointer]
        movzx   eax, sp
        LOG16   'c', eax
        db 0x66
        call    0x1000:dword far_target32
        LINE16
        jmp     real_over
far_target:
        mov     bp, sp
        movzx   eax, word [bp]
        LOG16   'C', eax
        movzx   eax, word [bp+2]
        LOG16   'S', eax
        retf
far_target4:
        mov     bp, sp
        movzx   eax, word [bp+4]
        LOG16   'P', eax
        retf    4
far_target32:
        mov     bp, sp
        mov     eax, [bp]
        LOG16   'C', eax
        mov     eax, [bp+4]
        and     eax, 0xffff
        LOG16   'S', eax
        db 0x66
        retf
real_over:
        les     di, [far_pointer]
        mov     ax, es
        movzx   eax, ax
        LOG16   'E', eax
        movzx   eax, di
        LOG16   'D', eax
        lds     esi, [far_pointer32]
        push    ds
        mov     ax, 0x1000
        mov     ds, ax
        mov     es, ax
        pop     ax
        LOG16   'X', eax
        LOG16   'D', esi
        LINE16

        ; addresses wrap at 64 KiB, strings too
        mov     ax, 0x3000
        mov     es, ax
        mov     di, 0xfffe
        mov     cx, 4
        mov     al, 0x5a
        rep stosb
        movzx   eax, di
        LOG16   'w', eax
        mov     al, [es:0]
        mov     ah, [es:1]
        LOG16   'w', eax
        mov     bx, 0xffff
        mov     si, 2
        mov     byte [es:bx+si], 0x77
        mov     al, [es:1]
        movzx   eax, al
        LOG16   'w', eax
        std
        mov     di, 1
        mov     cx, 2
        mov     ax, 0xbeef
        a16 stosb
        cld
        movzx   eax, di
        LOG16   'w', eax
        mov     ecx, 0x10002
        mov     bx, 0
.loop:  inc     bx
        loop    .loop
        LOG16   'n', ecx
        movzx   eax, bx
        LOG16   'n', eax
        LINE16

        ; decimal adjustment: the results of all values, summed
        xor     edi, edi
        xor     cx, cx
%macro  ADJUST 1+
        mov     ax, cx
        mov     ah, 0x12
        sahf
        %1
        pushf
        pop     dx
        and     dx, 0x11
        rol     edi, 3
        add     di, ax
        adc     di, dx
%endmacro
.daa:
        ADJUST  daa
        ADJUST  das
        ADJUST  aaa
        ADJUST  aas
        ADJUST  db 0xd4, 10
        ADJUST  db 0xd5, 10
        ADJUST  db 0xd4, 7
        ADJUST  db 0xd5, 255
        ADJUST  db 0xd6
        inc     cx
        cmp     cx, 256
        jb      .daa
        LOG16   'd', edi
        xor     ax, ax
        T16     db 0xd4, 0
        LINE16

        ; single steps: each trap logs its IP
        mov     word [resume], 0
        pushf
        pop     ax
        or      ah, 1
        push    ax
        popf
        nop
        inc     bx
        mov     ax, ss
        mov     ss, ax
        nop
        mov     cx, 3
        mov     di, 0x4000
        rep stosb
        int     0x22
        nop
        pushf
        pop     ax
        and     ah, 0xfe
        push    ax
        popf
        nop
        LINE16

        ; a 4 GiB limit survives the way back to real mode
        lgdt    [gdt_pointer]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     .pm
.pm:    mov     bx, FLAT
        mov     fs, bx
        and     al, 0xfe
        mov     cr0, eax
        jmp     0x1000:.unreal
.unreal:
        mov     edi, 0x123450
        mov     dword [fs:edi], 0xcafe1234
        mov     eax, [fs:dword 0x123450]
        LOG16   'u', eax
        xor     ax, ax
        mov     fs, ax
        mov     ax, [fs:0x20]           ; the limit stays, the base is new
        movzx   eax, ax
        LOG16   'u', eax
        LINE16
        jmp     enter_protected

real_int22:                             ; TF is off in a handler, and INT drops the trap
        add     sp, 2
        iret

; Stubs of 6 bytes each: push the vector, go on.
real_stubs:
%assign vector 0
%rep 0x30
        db      0x6a, vector            ; push byte
        %if vector = 0x22
        jmp     near real_int22
        %else
        jmp     near real_common
        %endif
        nop
%assign vector vector + 1
%endrep

; On the stack: vector, IP, CS, FLAGS.
real_common:
        push    bp
        mov     bp, sp
        push    eax
        push    ebx
        movzx   ebx, word [bp+2]
        LOG16   'V', ebx
        movzx   ebx, word [bp+4]
        LOG16   'I', ebx
        movzx   ebx, word [bp+6]
        LOG16   'S', ebx
        movzx   ebx, word [bp+8]
        and     bx, 0x7700
        LOG16   'F', ebx
        pushf
        pop     bx
        and     ebx, 0x7700
        LOG16   'N', ebx
        pop     ebx
        cmp     word [bp+2], 1
        je      .back
        cmp     word [resume], 0
        je      .back
        LINE16
        mov     sp, [saved_sp]
        jmp     [resume]
.back:  pop     eax
        pop     bp
        add     sp, 2
        iret

; --- to 32-bit protected mode ----------------------------------------------------------------------------------------
enter_protected:
        lgdt    [gdt_pointer]
        lidt    [idt_pointer]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     dword K_CODE:protected_main

        bits    32
%include "log32.inc"
%macro  T32 1+
        mov     dword [resume], %%after
        mov     [saved_sp], esp
        %1
        call    log_done32
%%after:
%endmacro
%macro  LOG32 2
        push    eax
        mov     eax, %2
        push    eax
        mov     al, %1
        call    log_char32
        pop     eax
        call    log_hex32
        call    log_space32
        pop     eax
%endmacro
%macro  LINE32 0
        call    log_line32
%endmacro
%macro  sysexit_try 0
        mov     edx, %%user + BASE
        mov     ecx, STACK3 + BASE
        sysexit
%%user: mov     ax, U_DATA
        mov     ds, ax
        mov     ax, cs
        movzx   eax, ax
        LOG32   'c', eax
        mov     ax, ss
        LOG32   's', eax
        LOG32   'p', esp
        sysenter
%endmacro
%macro  retf_inner 0
        push    dword K_CODE
        push    dword 0
        retf
%endmacro
%macro  iret_inner 0
        push    dword 2
        push    dword K_CODE
        push    dword 0
        iretd
%endmacro
protected_main:
        mov     ax, K_DATA
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     esp, STACK0
        xor     eax, eax
        mov     fs, ax
        mov     gs, ax
        ; the IDT: every vector a stub of 8 bytes
        mov     edi, IDT32
        mov     eax, stubs32 + (K_CODE << 16)
        mov     ecx, 0x40
.idt:   mov     [edi], eax
        mov     dword [edi+4], 0x8e00
        add     eax, 8
        add     edi, 8
        loop    .idt
        ; INT 30h..: other gates
        mov     byte [IDT32 + 0x30*8 + 5], 0xee        ; DPL 3
        mov     byte [IDT32 + 0x31*8 + 5], 0xef        ; trap gate, DPL 3
        mov     byte [IDT32 + 0x32*8 + 5], 0xe6        ; 16-bit interrupt gate, DPL 3
        mov     byte [IDT32 + 0x33*8 + 5], 0x6e        ; not present, DPL 3
        mov     byte [IDT32 + 0x34*8 + 5], 0xec        ; a call gate
        mov     dword [IDT32 + 0x35*8], (TSS_B << 16)  ; task gate
        mov     byte [IDT32 + 0x35*8 + 5], 0xe5
        mov     word [IDT32 + 0x36*8 + 2], K_DATA      ; to data
        mov     byte [IDT32 + 0x36*8 + 5], 0xee
        mov     word [IDT32 + 0x37*8 + 2], 0           ; to null
        mov     byte [IDT32 + 0x37*8 + 5], 0xee
        mov     word [IDT32 + 0x38*8 + 2], GDT_END     ; beyond the table
        mov     byte [IDT32 + 0x38*8 + 5], 0xee
        mov     word [IDT32 + 0x39*8 + 2], U_CODE      ; to an outer level
        mov     byte [IDT32 + 0x39*8 + 5], 0xee
        mov     byte [IDT32 + 3*8 + 5], 0xee           ; INT3 and INTO from ring 3
        mov     byte [IDT32 + 4*8 + 5], 0xee
        mov     dword [IDT32 + 0x3a*8], (TSS_C << 16)  ; task gate, 16-bit task
        mov     byte [IDT32 + 0x3a*8 + 5], 0xe5
        mov     byte [IDT32 + 0x3e*8 + 5], 0xee
        mov     byte [IDT32 + 0x3f*8 + 5], 0xee
        mov     dword [IDT32 + 0x3b*8], (TSS_A << 16)  ; task gate to the busy task
        mov     byte [IDT32 + 0x3b*8 + 5], 0xe5

        mov     ax, LDT_SEL
        T32     lldt ax
        mov     ax, TSS_A
        T32     ltr ax
        T32     ltr ax                          ; busy now
        mov     ax, K_DATA
        T32     ltr ax
        T32     lldt ax
        mov     ax, LDT_DATA
        T32     ltr ax
        str     eax
        LOG32   't', eax
        sldt    eax
        LOG32   'l', eax
        LINE32

        ; ring 0: gates of every kind
        T32     int 0x30
        T32     int 0x31
        T32     int 0x32
        T32     int 0x33
        T32     int 0x34
        T32     int 0x36
        T32     int 0x37
        T32     int 0x38
        T32     int 0x39
        T32     int 0x3b
        T32     int 0x41                        ; beyond the IDT
        T32     int3
        T32     ud2
        T32     db 0x0f, 0xff           ; ud0
        LINE32

        ; segment loads of every selector, into each register
        mov     byte [ring], 0
        call    try_segments
        call    try_probes
        mov     ecx, far_selectors
.far:   movzx   eax, word [ecx]
        mov     [far_pointer48+4], ax
        mov     dword [far_pointer48], far_back32
        T32     call far [far_pointer48]
        T32     jmp far [far_pointer48]
far_next:
        add     ecx, 2
        cmp     ecx, far_selectors_end
        jb      protected_main.far
        LINE32

        ; tasks
        LOG32   'T', 1
        T32     call TSS_B:0
        T32     int 0x35
        mov     ax, [tss_b + 0]
        movzx   eax, ax
        LOG32   'k', eax
        mov     eax, [tss_a + 0x20]
        LOG32   'k', eax
        mov     eax, [tss_a + 0x24]
        and     eax, 0x37700
        LOG32   'k', eax
        T32     call TASKG:0
        T32     call TSS_C:0
        T32     int 0x3a
        T32     call TSS_S:0
        T32     jmp TSS_A:0
        mov     eax, cr0
        and     eax, 0x8000000f
        LOG32   'o', eax
        clts
        ; ring 3
        mov     esp, STACK0
        push    dword U_DATA
        push    dword STACK3
        push    dword 0x1002            ; IOPL 1
        push    dword U_CODE
        push    dword ring3_main
        iretd
ring3_done:
        mov     esp, STACK0
        LINE32

        ; virtual-8086 mode, IOPL 0, then 3
        mov     dword [v86_iopl], 0
to_v86: mov     esp, STACK0
        push    dword 0x1000            ; GS
        push    dword 0x2000
        push    dword 0x1000
        push    dword 0x1000
        push    dword 0x1000            ; SS
        push    dword STACKV
        mov     eax, [v86_iopl]
        or      eax, 0x20002
        push    eax
        push    dword 0x1000
        push    dword v86_main
        iretd
v86_done:
        mov     esp, STACK0
        LINE32
        add     dword [v86_iopl], 0x3000
        cmp     dword [v86_iopl], 0x3000
        je      to_v86

        ; SYSENTER and SYSEXIT
        mov     ecx, 0x174
        mov     eax, SYS_CS
        xor     edx, edx
        wrmsr
        inc     ecx
        mov     eax, STACK0I + BASE
        wrmsr
        inc     ecx
        mov     eax, sysenter_target + BASE
        wrmsr
        T32     sysexit_try
        jmp     paging
sysenter_target:
        mov     ax, K_DATA
        mov     ds, ax
        mov     [value], esp
        mov     bx, cs
        mov     dx, ss
        jmp     K_CODE:.here
.here:  mov     ax, K_DATA
        mov     ss, ax
        mov     es, ax
        mov     esp, STACK0I
        movzx   ebx, bx
        LOG32   'C', ebx
        movzx   edx, dx
        LOG32   'S', edx
        LOG32   'P', [value]
        pushfd
        pop     eax
        and     eax, 0x37700
        LOG32   'F', eax
        LINE32
        mov     ecx, 0x174              ; with a null selector both are #GP
        xor     eax, eax
        xor     edx, edx
        wrmsr
        T32     sysenter
        T32     sysexit
        mov     esp, STACK0

; --- paging ----------------------------------------------------------------------------------------------------------
paging:
        mov     ax, FLAT
        mov     es, ax
        ; the directory at PAGES: 4 MiB identity by a table at PAGES+1000h
        mov     edi, PAGES
        xor     eax, eax
        mov     ecx, 0x4000 / 4
        a32 rep stosd
        mov     dword [es:PAGES], (PAGES + 0x1000) | 7
        mov     dword [es:PAGES + 4], 0x83             ; 4 MiB page, supervisor (needs PSE)
        mov     dword [es:PAGES + 8], (PAGES + 0x2000) | 7
        mov     edi, PAGES + 0x1000
        mov     eax, 7
        mov     ecx, 1024
.map:   stosd
        add     eax, 0x1000
        loop    .map
        ; linear 800000h..: pages with other rights, all on 50000h
        mov     dword [es:PAGES + 0x2000], 0x50000 | 7
        mov     dword [es:PAGES + 0x2004], 0x50000 | 5
        mov     dword [es:PAGES + 0x2008], 0x50000 | 3
        mov     dword [es:PAGES + 0x200c], 0x50000 | 1
        mov     dword [es:PAGES + 0x2010], 0
        mov     eax, PAGES
        mov     cr3, eax
        mov     eax, cr4
        or      eax, 0x10               ; PSE
        mov     cr4, eax
        mov     eax, cr0
        or      eax, 0x80000000
        mov     cr0, eax
        jmp     .on
.on:    call    try_pages
        mov     eax, cr0
        or      eax, 0x10000            ; WP
        mov     cr0, eax
        call    try_pages
        ; accessed and dirty
        mov     eax, [es:PAGES + 4]
        LOG32   'd', eax
        mov     eax, [es:PAGES + 0x2000]
        LOG32   'd', eax
        mov     eax, [es:PAGES + 0x2004]
        LOG32   'd', eax
        mov     eax, [es:PAGES + 0x200c]
        LOG32   'd', eax
        LINE32
        T32     mov eax, [es:0x401000]
        mov     eax, cr4                ; without PSE the bit means nothing: physical page 0 is a table
        and     eax, ~0x10
        mov     cr4, eax
        T32     mov eax, [es:0x401000]
        mov     eax, cr0
        and     eax, 0x7ffeffff
        mov     cr0, eax

        ; PAE
        mov     edi, PAGES
        xor     eax, eax
        mov     ecx, 0x5000 / 4
        rep stosd
        mov     dword [es:PAGES], (PAGES + 0x1000) | 1
        mov     dword [es:PAGES + 0x1000], (PAGES + 0x2000) | 7
        mov     dword [es:PAGES + 0x1008], 0x200083            ; 2 MiB
        mov     dword [es:PAGES + 0x1020], (PAGES + 0x3000) | 7
        mov     dword [es:PAGES + 0x1024], 0
        mov     edi, PAGES + 0x2000
        mov     eax, 7
        mov     ecx, 512
.pae:   mov     [es:edi], eax
        add     eax, 0x1000
        add     edi, 8
        loop    .pae
        mov     dword [es:PAGES + 0x3000], 0x50000 | 7
        mov     dword [es:PAGES + 0x3008], 0x50000 | 5
        mov     dword [es:PAGES + 0x3010], 0x50000 | 3
        mov     dword [es:PAGES + 0x3018], 0x50000 | 1
        mov     dword [es:PAGES + 0x3028], 0x50000 | 7
        mov     dword [es:PAGES + 0x302c], 0x80000000          ; no-execute
        mov     eax, cr4
        or      eax, 0x20
        mov     cr4, eax
        mov     eax, PAGES
        mov     cr3, eax
        mov     eax, cr0
        or      eax, 0x80000000
        mov     cr0, eax
        jmp     .on2
.on2:   call    try_pages
        T32     mov eax, [es:0x201000]
        T32     mov eax, [es:0x40000000]
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 0x800
        wrmsr
        mov     eax, cr3
        mov     cr3, eax
        T32     mov eax, [es:0x805000]
        mov     byte [es:0x805000], 0xc3
        T32     call K_CODE:0x805000 - BASE
        mov     eax, cr0
        and     eax, 0x7fffffff
        mov     cr0, eax
        mov     eax, cr4
        and     eax, ~0x20
        mov     cr4, eax
        LINE32

; --- debug registers -------------------------------------------------------------------------------------------------
        mov     dword [resume], 0
        jmp     SYS_CS:debug_flat + BASE        ; QEMU compares breakpoints with EIP, so the base must be 0
debug_flat:
        mov     eax, break_here + BASE
        mov     dr0, eax
        mov     eax, value + BASE
        mov     dr1, eax
        mov     eax, 0x00d00000 | 0x402 | 0x8   ; DR0 global execute, DR1 global write of 4 bytes
        mov     dr7, eax
        nop
break_here:
        mov     eax, 0x1234
        mov     [value], eax
        mov     eax, [value]
        mov     byte [value + 3], 1
        mov     byte [value + 4], 1
        mov     edi, value - 2
        mov     ecx, 5
        push    es
        push    ds
        pop     es
        rep stosb
        pop     es
        mov     eax, 0x00f00000 | 0x408         ; DR1: access
        mov     dr7, eax
        mov     eax, [value]
        push    dword [value]
        pop     eax
        xor     eax, eax
        mov     dr7, eax
        mov     eax, dr6
        LOG32   '6', eax
        mov     eax, dr7
        LOG32   '7', eax
        LINE32
        pushfd
        or      dword [esp], 0x100
        popfd
        nop
        mov     ax, ss
        mov     ss, ax
        nop
        nop
        pushfd
        and     dword [esp], ~0x100
        popfd
        LINE32

; --- the end ---------------------------------------------------------------------------------------------------------
        mov     al, '$'
        out     0xe9, al
        mov     al, 10
        out     0xe9, al
        xor     al, al
        out     0xf4, al
.end:   hlt
        jmp     .end

; --- parts of the tests in protected mode ----------------------------------------------------------------------------
far_back32:                             ; called or jumped to with any selector that is allowed
        jmp     K_CODE:.back
.back:  mov     ax, K_DATA
        mov     ss, ax
        mov     esp, [saved_sp]
        LOG32   'J', ecx
        LINE32
        jmp     [resume]

try_pages:
        LOG32   'g', cr0
        LINE32
        mov     esi, 0x800000
.page:  T32     mov eax, [es:esi]
        T32     mov [es:esi], eax
        push    esi
        mov     [value], esi
        call    in_ring3
        pop     esi
        add     esi, 0x1000
        cmp     esi, 0x805000
        jb      .page
        ret
U_FLAT  equ     0xe8 + 8 | 3

; Reads and writes [value] in ring 3; the exception there, or INT 30h, comes back here.
in_ring3:
        mov     dword [resume0], .back
        pushad
        mov     [saved_sp], esp
        push    dword U_DATA
        push    dword STACK3
        push    dword 2
        push    dword U_CODE
        push    dword .enter
        iretd
.enter: mov     ax, U_DATA
        mov     ds, ax
        mov     ax, U_FLAT
        mov     es, ax
        mov     esi, [value]
        mov     eax, [es:esi]
        mov     [es:esi], eax
        int     0x30
.back:  mov     ax, K_DATA
        mov     ds, ax
        mov     ax, FLAT
        mov     es, ax
        popad
        ret

try_segments:
        mov     ecx, selectors
.next:  movzx   eax, word [ecx]
        LOG32   'x', eax
        LINE32
        T32     mov gs, ax
        T32     mov es, ax
        cmp     byte [ring], 3
        je      .user
        mov     bx, K_DATA
        mov     es, bx
        push    ss
        T32     mov ss, ax
        mov     bx, K_DATA
        mov     ss, bx
        pop     ebx
        jmp     .step
.user:  mov     bx, U_DATA
        mov     es, bx
        T32     mov ss, ax
        mov     bx, U_DATA
        mov     ss, bx
.step:  add     ecx, 2
        cmp     ecx, selectors_end
        jb      .next
        ret

try_probes:
        mov     ecx, selectors
.next:  movzx   eax, word [ecx]
        LOG32   'x', eax
        mov     ebx, 0xeeeeeeee
        lar     ebx, eax
        pushfd
        and     ebx, 0x00f0ff00         ; bits 19:16 are undefined
        popfd
        call    log_zf
        mov     ebx, 0xeeeeeeee
        lsl     ebx, eax
        call    log_zf
        xor     ebx, ebx
        verr    ax
        call    log_zf
        verw    ax
        call    log_zf
        LINE32
        add     ecx, 2
        cmp     ecx, selectors_end
        jb      .next
        ret
log_zf: pushfd
        push    eax
        mov     eax, [esp+4]
        and     eax, 0x40
        LOG32   'z', eax
        LOG32   'v', ebx
        pop     eax
        popfd
        ret

; The second task: says where it is, and goes back.
task_b:
        str     eax
        LOG32   'B', eax
        LOG32   'b', ebp
        mov     ax, gs
        movzx   eax, ax
        LOG32   'G', eax
        pushfd
        pop     eax
        and     eax, 0x37700
        LOG32   'F', eax
        LOG32   'P', esp
        LINE32
        iretd
        inc     dword [counter]         ; the task goes on here when it is called again
        LOG32   'n', [counter]
        jmp     task_b

        bits    16
task_c: db 0x66
        jmp     K_CODE:dword .high
        bits    32
.high:  str     eax
        LOG32   'c', eax
        movzx   ebp, bp
        LOG32   'b', ebp
        pushfd
        pop     eax
        and     eax, 0x7700
        LOG32   'F', eax
        LINE32
        iretd
        jmp     .high
        bits    32

; --- ring 3 ----------------------------------------------------------------------------------------------------------
; Exceptions come back to [resume] in ring 3, by the IRET of the handler.
ring3_main:
        mov     ax, U_DATA
        mov     ds, ax
        mov     es, ax
        mov     byte [ring], 3
        LOG32   '3', esp
        T32     cli
        T32     hlt
        T32     mov eax, cr0
        T32     lgdt [gdt_pointer]
        T32     lldt ax
        T32     invlpg [0]
        T32     clts
        T32     wbinvd
        T32     in al, 0x20
        T32     in al, 0xe9
        T32     in ax, 0xef
        T32     in ax, 0x7f
        T32     int 0x20
        T32     int 0x30
        T32     int 0x31
        T32     int 0x32
        T32     int 0x35
        T32     int 0x39
        T32     int3
        mov     al, 0x7f
        add     al, 1
        T32     into
        smsw    eax
        and     eax, 0xf
        LOG32   'w', eax
        call    try_segments
        call    try_probes
        ; POPF cannot change IOPL and IF
        pushfd
        or      dword [esp], 0x3200
        popfd
        pushfd
        pop     eax
        and     eax, 0x7700
        LOG32   'F', eax
        LINE32
        ; gates
        push    dword 0x1111
        push    dword 0x2222
        T32     call GATE32:0
        push    word 0x3333
        push    word 0x4444
        T32     call GATE16:0
        T32     call GATE_NP:0
        T32     call GATE_0:0
        T32     call GATE_T:0
        T32     jmp GATE32:0
        T32     call TASKG:0
        T32     call TSS_B:0
        T32     call K_CODE:0
        T32     call CONFORM:conform_target
        T32     jmp EMPTY:0
        T32     retf_inner
        T32     iret_inner
        int     0x3f

conform_target:                         ; runs at the caller's level
        mov     ax, cs
        movzx   eax, ax
        LOG32   'o', eax
        LINE32
        retf

gate32_target:
        push    ebp
        mov     ebp, esp
        push    ds
        push    eax
        mov     ax, K_DATA
        mov     ds, ax
        mov     es, ax
        LOG32   'P', ebp
        LOG32   '1', [ebp+4]
        LOG32   '2', [ebp+8]
        LOG32   '3', [ebp+12]
        LOG32   '4', [ebp+16]
        LOG32   '5', [ebp+20]
        LOG32   '6', [ebp+24]
        LINE32
        pop     eax
        pop     ds
        pop     ebp
        retf    8                       ; ES becomes null: it holds what ring 3 may not use

gate16_target:
        push    ebp
        mov     ebp, esp
        push    ds
        mov     ax, K_DATA
        mov     ds, ax
        LOG32   'P', ebp
        LOG32   '1', [ebp+4]
        LOG32   '2', [ebp+8]
        LOG32   '3', [ebp+12]
        LINE32
        pop     ds
        pop     ebp
        o16 retf 4

; --- virtual-8086 mode -----------------------------------------------------------------------------------------------
        bits    16
%macro  TV 1+
        mov     word [resume], %%after
        mov     word [resume+2], 0
        mov     [saved_sp], sp
        %1
        call    log_done16
%%after:
%endmacro
%macro  iret_v86 0
        pushf
        push    cs
        push    word %%there
        iret
%%there:
%endmacro
%macro  popf_v86 0
        push    word 0x3202
        popf
        pushf
        pop     ax
        movzx   eax, ax
        LOG16   'F', eax
%endmacro
v86_main:
        mov     ax, 0x1000
        mov     ds, ax
        mov     es, ax
        mov     byte [ring], 8
        push    fs
        pop     ax
        movzx   eax, ax
        LOG16   'v', eax
        mov     ax, cs
        LOG16   'v', eax
        TV      cli
        TV      pushf
        TV      popf_v86
        TV      int 0x30
        TV      int 0x20
        TV      int3
        mov     al, 0x7f
        add     al, 1
        TV      into
        TV      hlt
        TV      in al, 0x20
        TV      in al, 0xe9
        TV      lldt ax
        TV      db 0x63, 0xc0
        TV      sldt ax
        TV      mov eax, cr0
        TV      iret_v86
        TV      call 0x1000:v86_far
        TV      ud2
        mov     ax, 0x2345
        mov     es, ax
        mov     ax, es
        movzx   eax, ax
        LOG16   'E', eax
        LINE16
        int     0x3e                    ; ends the visit: #GP or the gate
        ud2
v86_far: retf
        bits    32

; --- exceptions in protected mode ------------------------------------------------------------------------------------
        align   8
stubs32:
%assign vector 0
%rep 0x40
        db      0x6a, vector            ; push byte
        jmp     near common32
        align   8
%assign vector vector + 1
%endrep

; On the stack: vector, [error code], EIP, CS, EFLAGS, [ESP, SS, [ES, DS, FS, GS]]. EBP points behind the error code.
common32:
        push    eax
        push    ebx
        push    ecx
        push    edx
        push    ebp
        push    ds
        push    es
        mov     ax, K_DATA
        mov     ds, ax
        mov     ebx, [esp+28]
        LOG32   'V', ebx
        lea     ebp, [esp+32]
        mov     ecx, 0x00027d00         ; vectors with an error code
        cmp     ebx, 32
        jae     .frame
        bt      ecx, ebx
        jc      .with_code
        cmp     ebx, 17
        je      .with_code
        jmp     .frame
.with_code:
        mov     eax, [ebp]
        LOG32   'E', eax
        add     ebp, 4
.frame: cmp     ebx, 14
        jne     .no_cr2
        mov     eax, cr2
        LOG32   '2', eax
.no_cr2:
        cmp     ebx, 1
        jne     .no_dr6
        mov     eax, dr6
        LOG32   '6', eax
        and     eax, ~15
        mov     dr6, eax
.no_dr6:
        cmp     ebx, 0x32
        je      .narrow
        mov     eax, [ebp]
        LOG32   'I', eax
        mov     edx, [ebp+4]
        and     edx, 0xffff
        LOG32   'S', edx
        mov     eax, [ebp+8]
        and     eax, 0x37700 & ~0x10000
        LOG32   'F', eax
        test    dword [ebp+8], 0x20000
        jnz     .from_v86
        test    dl, 3
        jz      .inner
        mov     eax, [ebp+12]
        LOG32   'P', eax
        mov     eax, [ebp+16]
        and     eax, 0xffff
        LOG32   'K', eax
        jmp     .inner
.from_v86:
        mov     eax, [ebp+12]
        LOG32   'P', eax
        mov     eax, [ebp+16]
        and     eax, 0xffff
        LOG32   'K', eax
        mov     eax, [ebp+28]
        and     eax, 0xffff
        LOG32   'f', eax
        mov     ax, gs
        movzx   eax, ax
        LOG32   'g', eax
.inner: mov     eax, esp
        LOG32   'p', eax
        pushfd
        pop     eax
        and     eax, 0x37700
        LOG32   'N', eax
        LINE32
        cmp     ebx, 0x3e               ; the end of a visit to virtual-8086 mode
        je      v86_done
        cmp     ebx, 0x3f
        je      ring3_done
        test    dword [ebp+8], 0x20000
        jz      .not_gp
        cmp     ebx, 13
        jne     .not_gp
        movzx   eax, word [ebp]
        cmp     word [eax], 0x3ecd      ; INT 3eh that IOPL forbids
        je      v86_done
.not_gp:
        cmp     ebx, 1
        jne     .resume
        test    dword [ebp+8], 0x100
        jnz     .debug_back
        or      dword [ebp+8], 0x10000  ; RF
.debug_back:
        mov     eax, ebp
        jmp     .return
.resume:
        mov     eax, [resume0]
        test    eax, eax
        jz      .same
        mov     dword [resume0], 0
        mov     esp, [saved_sp]
        jmp     eax
.same:  cmp     dword [resume], 0
        je      .return
        mov     eax, [resume]
        mov     [ebp], eax
        mov     eax, [saved_sp]
        test    dword [ebp+8], 0x20000
        jnz     .outer
        test    byte [ebp+4], 3
        jnz     .outer
        mov     cx, K_DATA
        mov     edx, esp
        mov     ss, cx
        mov     esp, edx
        mov     eax, [esp+24]
        mov     ebx, [esp+20]
        mov     ecx, [esp+16]
        mov     edx, [esp+12]
        mov     ebp, [esp+8]
        mov     esp, [saved_sp]
        jmp     [resume]
.outer: mov     [ebp+12], eax
.return:
        pop     es
        pop     ds
        mov     [esp+12+8], ebp         ; where IRET finds its frame
        pop     ebp
        pop     edx
        pop     ecx
        pop     ebx
        pop     eax
        mov     esp, [esp]
        iretd
.narrow:                                ; a frame of 16 bits
        movzx   eax, word [ebp]
        LOG32   'I', eax
        movzx   eax, word [ebp+2]
        LOG32   'S', eax
        movzx   eax, word [ebp+4]
        and     eax, 0x7700
        LOG32   'F', eax
        LINE32
        test    byte [ebp+2], 3
        jnz     .narrow_outer
        mov     esp, [saved_sp]
        jmp     [resume]
.narrow_outer:
        mov     eax, [resume]
        mov     [ebp], ax
        mov     eax, [saved_sp]
        mov     [ebp+6], ax
        pop     es
        pop     ds
        mov     [esp+12+8], ebp
        pop     ebp
        pop     edx
        pop     ecx
        pop     ebx
        pop     eax
        mov     esp, [esp]
        o16 iret

; --- data ------------------------------------------------------------------------------------------------------------
        align   16
gdt:
%macro  SEGMENT 4                ; base, limit, access byte, flags (G D L AVL)
        dw      (%2) & 0xffff, (%1) & 0xffff
        db      ((%1) >> 16) & 0xff, %3, (((%2) >> 16) & 15) | (%4 << 4), (%1) >> 24
%endmacro
%macro  CALLGATE 4              ; selector, offset, access byte, parameters
        dw      (%2) - $$, %1
        db      %4, %3
        dw      0
%endmacro
        dq      0
        SEGMENT BASE, 0xfffff, 0x9b, 0xc
        SEGMENT BASE, 0xfffff, 0x92, 0xc
        SEGMENT 0, 0xfffff, 0x92, 0xc
        SEGMENT BASE, 0xfffff, 0xfb, 0xc
        SEGMENT BASE, 0xfffff, 0xf2, 0xc
        SEGMENT BASE, 0xffff, 0x9b, 0x0
        SEGMENT BASE, 0xfffff, 0x9f, 0xc
        SEGMENT BASE, 0xfffff, 0x90, 0xc
        SEGMENT BASE, 0xfffff, 0x12, 0xc
        SEGMENT BASE, 0xfffff, 0x99, 0xc
        SEGMENT BASE + ldt - $$, 15, 0x82, 0
        SEGMENT BASE + tss_a - $$, 0x87, 0x89, 0
        SEGMENT BASE + tss_b - $$, 0x67, 0x89, 0
        SEGMENT BASE + tss_c - $$, 0x2b, 0x81, 0
        CALLGATE K_CODE, gate32_target, 0xec, 2
        CALLGATE K_CODE, gate16_target, 0xe4, 2
        CALLGATE CONFORM, conform_target, 0xec, 0
        CALLGATE K_CODE, gate32_target, 0x6c, 0
        CALLGATE K_CODE, gate32_target, 0x8c, 0
        CALLGATE TSS_B, $$, 0xe5, 0
        SEGMENT BASE, 0xfffff, 0xbb, 0xc
        SEGMENT BASE, 0xfffff, 0xb2, 0xc
        SEGMENT BASE, 0xffff, 0x92, 0x0
        dq      0
        SEGMENT BASE + tss_b - $$, 0x66, 0x89, 0
        CALLGATE K_DATA, gate32_target, 0xec, 0
        SEGMENT 0, 0xfffff, 0x9b, 0xc
        SEGMENT 0, 0xfffff, 0x92, 0xc
        SEGMENT 0, 0xfffff, 0xfb, 0xc
        SEGMENT 0, 0xfffff, 0xf2, 0xc
        %if ($ - gdt) != GDT_END
        %error gdt
        %endif
ldt:    SEGMENT BASE, 0xfffff, 0x92, 0xc
        SEGMENT BASE, 0xfffff, 0xf2, 0xc

        align   4
gdt_pointer: dw GDT_END - 1
        dd      gdt + BASE
idt_pointer: dw 0x40 * 8 - 1
        dd      IDT32 + BASE

        align   4
tss_a:  dd      0, STACK0I, K_DATA, STACK1, R1_DATA, 0, 0, 0
        times   0x60 - 0x20 db 0
        dw      LDT_SEL, 0, 0, 0x68
        times   4 db 0                  ; ports 20h to 27h and those from f0h on are not allowed
        db      0xff
        times   0x19 db 0
        db      0xff, 0xff

tss_b:  dd      0, STACK0I, K_DATA, 0, 0, 0, 0, 0
        dd      task_b, 0x3002
        dd      1, 2, 3, 4, STACKB, 0xb0b0b0b0, 6, 7
        dd      K_DATA, K_CODE, K_DATA, K_DATA, 0, U_DATA
        dw      LDT_SEL, 0, 0, 0x68
tss_c:  dw      0, STACK0I, K_DATA, 0, 0, 0, 0
        dw      task_c - $$, 0x3002
        dw      1, 2, 3, 4, STACKB - 0x200, 0xc0c0, 6, 7
        dw      K_DATA, K_CODE16, K_DATA, K_DATA, LDT_SEL

selectors:
        dw      0, 1, 2, 3, K_CODE, K_DATA, K_DATA | 1, K_DATA | 3, FLAT, U_CODE, U_CODE & ~3, U_DATA, U_DATA & ~3
        dw      K_CODE16, CONFORM, CONFORM | 3, RO_DATA, RO_DATA | 3, ABSENT, XO_CODE, LDT_SEL, TSS_A, TSS_B, TSS_C
        dw      GATE32, GATE16, GATE_NP, TASKG, R1_CODE, R1_DATA, EMPTY, GDT_END, GDT_END | 3, LDT_DATA, LDT_UDATA
        dw      0x14, 0x17, 0xffff
selectors_end:
far_selectors:
        dw      0, K_CODE, K_DATA, U_CODE, K_CODE16, CONFORM, CONFORM | 3, ABSENT, XO_CODE, LDT_SEL, EMPTY, GDT_END
        dw      R1_CODE, LDT_DATA, K_CODE | 3, TSS_A
far_selectors_end:

        align   4
resume: dd      0
resume0: dd     0
saved_sp: dd    0
value:  dd      0, 0
counter: dd     0
v86_iopl: dd    0
ring:   db      0
        align   2
limits16: dw    0, 20
far_pointer: dw far_target4, 0x1000
far_pointer32: dd 0x12345678
        dw      0x4321
far_pointer48: dd 0
        dw      0

        %if ($ - $$) > 0x8000
        %error the image reaches into its tables
        %endif
        times   0xfff0 - ($ - $$) db 0
        bits    16
        jmp     0xf000:start
        times   0x10000 - ($ - $$) db 0
