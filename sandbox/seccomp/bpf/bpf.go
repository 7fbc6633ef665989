// Package bpf is the little of classic BPF that a seccomp filter needs: the
// instruction, a check that a program is one the kernel would take and that
// only does what our compiler emits, and an interpreter.
//
// The interpreter serves two ends. Tests run every system call of every ABI
// through it; and the compiler runs its own output through it before handing
// the output on, since libseccomp has been wrong about comparisons before
// (CVE-2019-9893) and a filter that is too loose shows no other symptom.
package bpf

import (
	"encoding/binary"
	"fmt"
)

// InstructionSize is the size of struct sock_filter.
const InstructionSize = 8

// MaxInstructions is BPF_MAXINSNS of linux/bpf_common.h.
const MaxInstructions = 4096

// Operations that occur in a filter (linux/bpf_common.h), and no others.
const (
	LoadWord     = 0x20 // BPF_LD|BPF_W|BPF_ABS: a word of struct seccomp_data
	And          = 0x54 // BPF_ALU|BPF_AND|BPF_K
	Jump         = 0x05 // BPF_JMP|BPF_JA
	JumpEqual    = 0x15 // BPF_JMP|BPF_JEQ|BPF_K
	JumpGreater  = 0x25 // BPF_JMP|BPF_JGT|BPF_K
	JumpAtLeast  = 0x35 // BPF_JMP|BPF_JGE|BPF_K
	JumpAnyBitIn = 0x45 // BPF_JMP|BPF_JSET|BPF_K
	Return       = 0x06 // BPF_RET|BPF_K
)

// Return values (linux/seccomp.h); the low 16 bits carry an errno or message.
const (
	RetKillProcess uint32 = 0x80000000
	RetKillThread  uint32 = 0x00000000
	RetTrap        uint32 = 0x00030000
	RetErrno       uint32 = 0x00050000
	RetUserNotif   uint32 = 0x7fc00000
	RetTrace       uint32 = 0x7ff00000
	RetLog         uint32 = 0x7ffc0000
	RetAllow       uint32 = 0x7fff0000
	RetActionMask  uint32 = 0xffff0000
)

// Offsets in struct seccomp_data, which is 64 bytes: nr, arch, instruction
// pointer, six arguments of 64 bits.
const (
	OffsetNumber = 0
	OffsetArch   = 4
	offsetArgs   = 16
	dataSize     = 64
)

// OffsetArg gives the offsets of the low and the high half of argument n on a
// little-endian machine, and those are all that jail is built for.
func OffsetArg(n uint) (low, high uint32) {
	low = uint32(offsetArgs + 8*n)
	return low, low + 4
}

// Instruction is struct sock_filter.
type Instruction struct {
	Code   uint16
	JT, JF uint8
	K      uint32
}

// Program is a filter in order of execution.
type Program []Instruction

// Call is what a filter sees: struct seccomp_data less the instruction pointer.
type Call struct {
	Number uint32
	Arch   uint32
	Args   [6]uint64
}

// Parse reads an array of struct sock_filter and checks it.
func Parse(code []byte) (Program, error) {
	if err := Check(code); err != nil {
		return nil, err
	}
	p := make(Program, len(code)/InstructionSize)
	for i := range p {
		p[i] = decode(code[i*InstructionSize:])
	}
	return p, nil
}

// Check refuses what bpf_check_classic and seccomp_check_filter of the kernel
// refuse, and also every instruction that our compiler has no use for. Jumps
// only go forward, so a program that passes always ends.
func Check(code []byte) error {
	if len(code) == 0 || len(code)%InstructionSize != 0 {
		return fmt.Errorf("bpf program of %d bytes is not a whole number of instructions", len(code))
	}
	n := len(code) / InstructionSize
	if n > MaxInstructions {
		return fmt.Errorf("bpf program of %d instructions is over the kernel's limit of %d", n, MaxInstructions)
	}
	for i := range n {
		in := decode(code[i*InstructionSize:])
		if complaint := in.check(uint64(n - i - 1)); complaint != "" {
			return fmt.Errorf("bpf instruction %d (%s) %s", i, in.text(i), complaint)
		}
	}
	if decode(code[len(code)-InstructionSize:]).Code != Return {
		return fmt.Errorf("bpf program does not end with a return")
	}
	return nil
}

// check says what is wrong with an instruction that has so many behind it.
func (in Instruction) check(behind uint64) string {
	switch in.Code {
	case LoadWord:
		if in.K%4 != 0 || in.K >= dataSize {
			return "loads from outside of struct seccomp_data"
		}
	case And:
	case Jump:
		if uint64(in.K) >= behind {
			return "jumps out of the program"
		}
	case JumpEqual, JumpGreater, JumpAtLeast, JumpAnyBitIn:
		if uint64(in.JT) >= behind || uint64(in.JF) >= behind {
			return "jumps out of the program"
		}
	case Return:
		if !knownReturn(in.K) {
			return "returns an unknown value"
		}
	default:
		return "has an unexpected code"
	}
	return ""
}

// Bytes gives the array of struct sock_filter for struct sock_fprog.
func (p Program) Bytes() []byte {
	code := make([]byte, 0, len(p)*InstructionSize)
	for _, in := range p {
		code = binary.LittleEndian.AppendUint16(code, in.Code)
		code = append(code, in.JT, in.JF)
		code = binary.LittleEndian.AppendUint32(code, in.K)
	}
	return code
}

func decode(b []byte) Instruction {
	return Instruction{
		Code: binary.LittleEndian.Uint16(b),
		JT:   b[2],
		JF:   b[3],
		K:    binary.LittleEndian.Uint32(b[4:]),
	}
}

func knownReturn(value uint32) bool {
	switch value & RetActionMask {
	case RetKillProcess, RetKillThread, RetTrap, RetErrno, RetTrace, RetLog, RetAllow:
		return true
	}
	return false
}

// Run gives the value that the program returns for a call.
// Preconditions: p comes from Parse.
func (p Program) Run(c *Call) uint32 {
	var acc uint32
	for pc := 0; ; pc++ {
		in := &p[pc]
		taken := false
		switch in.Code {
		case LoadWord:
			acc = c.word(in.K)
			continue
		case And:
			acc &= in.K
			continue
		case Jump:
			pc += int(in.K)
			continue
		case Return:
			return in.K
		case JumpEqual:
			taken = acc == in.K
		case JumpGreater:
			taken = acc > in.K
		case JumpAtLeast:
			taken = acc >= in.K
		case JumpAnyBitIn:
			taken = acc&in.K != 0
		}
		if taken {
			pc += int(in.JT)
		} else {
			pc += int(in.JF)
		}
	}
}

func (c *Call) word(offset uint32) uint32 {
	switch {
	case offset == OffsetNumber:
		return c.Number
	case offset == OffsetArch:
		return c.Arch
	case offset < offsetArgs:
		return 0 // the instruction pointer, which nothing asks for
	}
	arg := c.Args[(offset-offsetArgs)/8]
	if offset%8 == 4 {
		return uint32(arg >> 32)
	}
	return uint32(arg)
}
