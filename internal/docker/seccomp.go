package docker

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"syscall"
)

const (
	seccompOption = "seccomp="

	actAllow = "SCMP_ACT_ALLOW"
	actErrno = "SCMP_ACT_ERRNO"

	// newNamespaces are the flags of clone that make namespaces: mount, cgroup, uts, ipc, user, pid and net.
	newNamespaces = syscall.CLONE_NEWNS | 0x02000000 | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC |
		syscall.CLONE_NEWUSER | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET
)

// families are the kinds of sockets that a session may make. All others are closed, such as AF_VSOCK (40), which leads to
// the hypervisor and its other machines past every network, and AF_ALG (38).
var families = []uint64{syscall.AF_UNIX, syscall.AF_INET, syscall.AF_INET6, syscall.AF_NETLINK}

// personalities are the execution domains that engines allow: Linux, 32 bits wide or not, with or without UNAME26, and the
// question which one it is.
var personalities = []uint64{0, 8, 0x20000, 0x20008, 0xffffffff}

// profile is a seccomp profile as engines read it.
type profile struct {
	DefaultAction string `json:"defaultAction"`
	Architectures []arch `json:"archMap"`
	Calls         []rule `json:"syscalls"`
}

type arch struct {
	Name string   `json:"architecture"`
	Also []string `json:"subArchitectures"`
}

type rule struct {
	Names    []string   `json:"names"`
	Action   string     `json:"action"`
	Errno    *uint      `json:"errnoRet,omitempty"`
	Args     []argument `json:"args,omitempty"` // all must hold
	Includes *condition `json:"includes,omitempty"`
}

type argument struct {
	Index    uint   `json:"index"`
	Value    uint64 `json:"value"`
	ValueTwo uint64 `json:"valueTwo,omitempty"`
	Op       string `json:"op"`
}

type condition struct {
	Arches    []string `json:"arches,omitempty"`
	MinKernel string   `json:"minKernel,omitempty"`
}

// sessionSeccomp is the option that confines the system calls of a session. It allows nothing that an engine's own profile
// does not allow to a container without capabilities, and less: see absentCalls and families.
var sessionSeccomp = func() string {
	absent := uint(syscall.ENOSYS)
	p := profile{
		DefaultAction: actErrno, // EPERM
		Architectures: []arch{
			{"SCMP_ARCH_X86_64", []string{"SCMP_ARCH_X86", "SCMP_ARCH_X32"}},
			{"SCMP_ARCH_AARCH64", []string{"SCMP_ARCH_ARM"}},
		},
		Calls: []rule{
			{Names: names(allowedCalls...), Action: actAllow},
			{Names: names(absentCalls...), Action: actErrno, Errno: &absent},
			// Debuggers. Older kernels let a tracer change a call after the filter has allowed it.
			{Names: []string{"ptrace"}, Action: actAllow, Includes: &condition{MinKernel: "4.8"}},
			{Names: []string{"clone"}, Action: actAllow, Args: []argument{{Value: newNamespaces, Op: "SCMP_CMP_MASKED_EQ"}}},
		},
	}
	for _, family := range families {
		p.Calls = append(p.Calls, rule{Names: []string{"socket", "socketpair"}, Action: actAllow, Args: []argument{{Value: family, Op: "SCMP_CMP_EQ"}}})
	}
	for _, domain := range personalities {
		p.Calls = append(p.Calls, rule{Names: []string{"personality"}, Action: actAllow, Args: []argument{{Value: domain, Op: "SCMP_CMP_EQ"}}})
	}
	for _, on := range slices.Sorted(maps.Keys(architectureCalls)) {
		p.Calls = append(p.Calls, rule{Names: names(architectureCalls[on]), Action: actAllow, Includes: &condition{Arches: []string{on}}})
	}
	text, _ := json.Marshal(p) // strings and numbers: it cannot fail
	return seccompOption + string(text)
}()

func names(lists ...string) []string { return strings.Fields(strings.Join(lists, " ")) }

// hasSeccomp reports whether the engine confines system calls by default; options are those of /info.
func hasSeccomp(options []string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		return strings.HasPrefix(o, "name=seccomp") && !strings.Contains(o, "unconfined")
	})
}

// takesSeccomp reports whether the engine gets Berth's profile: it supports seccomp, and its operator has not configured
// another profile, which may be stricter.
func takesSeccomp(options []string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		name, profile, _ := strings.Cut(o, ",profile=")
		return name == "name=seccomp" && slices.Contains([]string{"", "default", "builtin", "unconfined"}, profile)
	})
}
