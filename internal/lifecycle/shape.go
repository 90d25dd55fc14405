package lifecycle

import (
	"cmp"
	"maps"
	"regexp"
	"slices"
	"strings"

	"berth/internal/session"
)

// Bounds of what a session may ask for.
const (
	maxVariables     = 64
	maxVariableBytes = 32 << 10 // of all names and values together
	maxAllow         = 64       // entries of an egress list
	minProcesses     = 64       // an idle server has about sixteen, and each terminal needs four
	minCPUs          = session.OneCPU / 100
)

// variableName is a name that every shell can use.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// ownVariables are set by Berth or by images, or decide where the programs of an image find their parts, before they run. Those that end
// in "*" are prefixes. Names are compared without regard to case, as programs read the variables of proxies.
var ownVariables = []string{
	"BERTH_*", "OPENCODE_SERVER_*", "OPENCODE_PASSWORD", "OPENCODE_CONFIG*", "GIT_*", "LD_*", "HOME", "PATH",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
}

// gitVariables are those of git that change neither where a repository is nor how git reaches others.
var gitVariables = []string{"GIT_AUTHOR_*", "GIT_COMMITTER_*", "GIT_EDITOR", "GIT_PAGER"}

// checkShape returns a CodeInvalid error for a shape that a new session of the profile cannot have.
func (o Options) checkShape(name string, p session.Profile, asked session.Shape) error {
	if err := o.checkLimits(asked.Limits); err != nil {
		return err
	}
	if err := o.enoughMemory(name, p, asked); err != nil {
		return err
	}
	if err := checkVariables(p, asked.Env); err != nil {
		return err
	}
	if err := checkRepository(asked); err != nil {
		return err
	}
	return o.checkEgress(name, p, asked)
}

// checkRepository checks the repository of a new session. Whether its server lets the session in shows when it is cloned.
func checkRepository(asked session.Shape) error {
	if asked.Repository == "" {
		if asked.Ref != "" {
			return session.Errorf(session.CodeInvalid, "a ref goes with a repository")
		}
		return nil
	}
	_, err := session.ParseRepository(asked.Repository)
	if err == nil && asked.Ref != "" {
		err = session.CheckRef(asked.Ref)
	}
	if err != nil {
		return session.Errorf(session.CodeInvalid, "%v", err)
	}
	return nil
}

// checkLimits checks what was asked for; 0 is not.
func (o Options) checkLimits(asked session.Limits) error {
	most := o.most()
	invalid := func(format string, args ...any) error { return session.Errorf(session.CodeInvalid, format, args...) }
	switch {
	case asked.Memory < 0 || asked.CPUs < 0 || asked.Processes < 0:
		return invalid("memory, CPUs and processes cannot be negative")
	case asked.Memory > most.Memory && most.Memory > 0:
		return invalid("%s of memory is more than the %s that a session may have; ask for less, or have the operator raise MAX_SESSION_MEMORY", asked.Memory, most.Memory)
	case asked.CPUs > most.CPUs && most.CPUs > 0:
		return invalid("%s CPUs are more than the %s that a session may have; ask for less, or have the operator raise MAX_SESSION_CPUS", asked.CPUs, most.CPUs)
	case asked.CPUs > 0 && asked.CPUs < minCPUs:
		return invalid("%s CPUs are less than the smallest limit, %s", asked.CPUs, minCPUs)
	case asked.Processes > most.Processes && most.Processes > 0:
		return invalid("%d processes are more than the %d that a session may have; ask for less, or have the operator raise MAX_SESSION_PIDS", asked.Processes, most.Processes)
	case asked.Processes > 0 && asked.Processes < minProcesses:
		return invalid("%d processes are too few for a server and its terminals; ask for %d or more", asked.Processes, minProcesses)
	}
	return nil
}

// most are the highest limits of a session; 0: none.
func (o Options) most() session.Limits {
	return session.Limits{
		Memory: cmp.Or(o.MaxLimits.Memory, o.Limits.Memory), CPUs: cmp.Or(o.MaxLimits.CPUs, o.Limits.CPUs),
		Processes: cmp.Or(o.MaxLimits.Processes, o.Limits.Processes),
	}
}

// limitsOf returns the limits of a container: what was asked for, else the profile's, else the operator's, and never more than the
// maximum, which may have been lowered since.
func (o Options) limitsOf(p session.Profile, asked session.Shape) session.Limits {
	most := o.most()
	return session.Limits{
		Memory:    atMost(most.Memory, asked.Limits.Memory, p.Memory, o.Limits.Memory),
		CPUs:      atMost(most.CPUs, asked.Limits.CPUs, p.CPUs, o.Limits.CPUs),
		Processes: atMost(most.Processes, asked.Limits.Processes, p.Processes, o.Limits.Processes),
	}
}

// atMost returns the first value that is not 0, or most if that is less and not 0.
func atMost[T ~int64](most T, values ...T) T {
	value := cmp.Or(values...)
	if most > 0 {
		value = min(value, most)
	}
	return value
}

// enoughMemory returns an error if the memory limit is below what a server of the profile needs.
func (o Options) enoughMemory(name string, p session.Profile, asked session.Shape) error {
	if limit := o.limitsOf(p, asked).Memory; limit < p.MinMem {
		if asked.Limits.Memory > 0 && asked.Limits.Memory < p.MinMem {
			return session.Errorf(session.CodeInvalid, "a server of profile %q needs %s of memory, and the session asks for %s; ask for more, or use another profile",
				name, p.MinMem, asked.Limits.Memory)
		}
		return session.Errorf(session.CodeInvalid, "a server of profile %q needs %s of memory and sessions get %s; raise CONTAINER_MEMORY_LIMIT, or use another profile",
			name, p.MinMem, limit)
	}
	return nil
}

// checkVariables checks the environment of a new session. No message has a value.
func checkVariables(p session.Profile, env session.Variables) error {
	invalid := func(format string, args ...any) error { return session.Errorf(session.CodeInvalid, format, args...) }
	if len(env) > maxVariables {
		return invalid("%d environment variables are too many; at most %d are kept", len(env), maxVariables)
	}
	size := 0
	for _, name := range env.Names() {
		value := env[name]
		size += len(name) + len(value)
		switch {
		case !variableName.MatchString(name):
			return invalid("%q is not the name of an environment variable: letters, digits and _, at most 128, not beginning with a digit", name)
		case isOwnVariable(p, name):
			return invalid("the environment variable %s is set by Berth or decides how its image runs, and cannot be set for a session", name)
		case strings.ContainsRune(value, 0):
			return invalid("the value of the environment variable %s has a zero byte", name)
		}
	}
	if size > maxVariableBytes {
		return invalid("the environment variables have %d bytes together; at most %d are kept", size, maxVariableBytes)
	}
	return nil
}

// isOwnVariable reports whether sessions may not set a variable.
func isOwnVariable(p session.Profile, name string) bool {
	if _, taken := p.Env[name]; taken || slices.Contains(p.PasswordVariables(), name) || name == p.ConfigEnv {
		return true
	}
	name = strings.ToUpper(name)
	return isListed(ownVariables, name) && !isListed(gitVariables, name)
}

func isListed(list []string, name string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		prefix, isPrefix := strings.CutSuffix(entry, "*")
		return name == entry || isPrefix && strings.HasPrefix(name, prefix)
	})
}

// withVariables returns the profile with a session's variables, and those with its repository. Variables that the profile or Berth sets,
// perhaps only since the session was created, are left out.
func withVariables(p session.Profile, asked session.Shape) session.Profile {
	if len(asked.Env) == 0 && asked.Repository == "" {
		return p
	}
	all := map[string]string{}
	for name, value := range asked.Env {
		if !isOwnVariable(p, name) {
			all[name] = value
		}
	}
	maps.Copy(all, p.Env)
	if asked.Repository != "" {
		all[session.RepositoryVariable], all[session.RefVariable] = asked.Repository, asked.Ref
	}
	p.Env = all
	return p
}

// checkEgress checks that a new session asks for no more than its profile allows.
func (o Options) checkEgress(name string, p session.Profile, asked session.Shape) error {
	invalid := func(format string, args ...any) error { return session.Errorf(session.CodeInvalid, format, args...) }
	if err := asked.Egress.Validate(); err != nil {
		return invalid("%v", err)
	}
	mode, allow := p.EgressOf()
	switch {
	case asked.Egress != "" && !asked.Egress.Within(mode):
		return invalid("sessions of profile %q have egress %q; one may ask for less, not for %q", name, mode, asked.Egress)
	case len(asked.Allow) > maxAllow:
		return invalid("an egress list of %d entries is too long; at most %d are kept", len(asked.Allow), maxAllow)
	case len(asked.Allow) == 0:
		return nil
	case asked.Egress != "" && asked.Egress != session.EgressListed || mode == session.EgressNone:
		return invalid("an egress list goes with egress \"listed\"")
	}
	for _, rule := range asked.Allow {
		if err := session.CheckText("entry of an egress list", rule); err != nil || rule == "" {
			return invalid("an entry of the egress list is not a rule")
		}
	}
	if mode == session.EgressListed && o.Covers == nil {
		return firstUncovered(name, allow, asked.Allow, slices.Contains[[]string])
	}
	if mode == session.EgressListed {
		return firstUncovered(name, allow, asked.Allow, o.Covers)
	}
	return nil
}

func firstUncovered(profile string, allow, asked []string, covers func([]string, string) bool) error {
	for _, rule := range asked {
		if !covers(allow, rule) {
			return session.Errorf(session.CodeInvalid, "the egress list of profile %q does not allow %q; a session may ask for less, never for more", profile, rule)
		}
	}
	return nil
}

// checkAllowed returns a CodeInvalid error for an image that is neither a profile's nor allowed.
func (o Options) checkAllowed(image string) error {
	for _, p := range o.Profiles {
		if session.SameImage(p.Image, image) {
			return nil
		}
	}
	for _, p := range o.Images {
		if p.Matches(image) {
			return nil
		}
	}
	return session.Errorf(session.CodeInvalid, "the image %q is not one that sessions may have: leave the image out for the profile's, or have the operator "+
		"add it to ALLOWED_IMAGES (sessions that have it keep it, with their data)", image)
}
