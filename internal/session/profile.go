package session

import (
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Profile describes a kind of server image: its port, its probes and its writable directories. Support for another server, or
// another major version of the same one, is another profile.
type Profile struct {
	Image  string            `yaml:"image"`         // image of sessions that name none
	Port   int               `yaml:"port"`          // TCP port that the server listens on inside the container
	UID    int               `yaml:"uid"`           // numeric user that it runs as; never 0
	GID    int               `yaml:"gid"`           // numeric group; never 0
	Env    map[string]string `yaml:"env,omitempty"` // environment of the server, without the credential
	MinMem Bytes             `yaml:"min_memory"`    // smallest memory limit with which the server works

	// Memory, CPUs and Processes limit the sessions that ask for no limits themselves. 0: as the operator's settings say.
	Memory    Bytes `yaml:"memory,omitempty"`
	CPUs      CPUs  `yaml:"cpus,omitempty"`
	Processes int64 `yaml:"pids,omitempty"`

	// The server's own credential, set in its environment and sent to it by HTTP Basic. Berth derives the password.
	Username    string `yaml:"username"`
	PasswordEnv string `yaml:"password_env"`
	// PasswordEnvAlso are further variables with the password, for servers that know it by another name.
	PasswordEnvAlso []string `yaml:"password_env_also,omitempty"`

	Ready Probe `yaml:"ready"` // succeeds when the server is ready for requests

	Busy []BusyProbe `yaml:"busy,omitempty"` // the server is busy if one of them reports work

	Volumes []Volume `yaml:"volumes"` // kept for the life of the session
	Tmpfs   []Tmpfs  `yaml:"tmpfs"`   // lost when the container stops; everything else is read-only

	// Silent lists path patterns ("/session/*/message"; * is one segment) of calls that send no byte before they are
	// finished. No header time-out applies to them.
	Silent []string `yaml:"silent,omitempty"`
	// Blocked lists "METHOD /path" patterns that no client may call, such as a self-upgrade.
	Blocked []string `yaml:"blocked,omitempty"`
	// Public lists paths that need no credential, because browsers request them without one.
	Public []string `yaml:"public,omitempty"`

	// Egress is what sessions reach of the outside, and EgressAllow are the lists and rules of [EgressListed]. Empty: "listed" and
	// [packages].
	Egress      EgressMode `yaml:"egress,omitempty"`
	EgressAllow []string   `yaml:"egress_allow,omitempty"`
	// ConfigEnv is the variable of Env with the server's configuration, OpenCode's JSON, to which Berth adds the models. Empty: there
	// is none, and sessions have no models of the operator's.
	ConfigEnv string `yaml:"config_env,omitempty"`
	// Config is added to the configuration in ConfigEnv: agents, commands, MCP servers and whatever else the server reads there.
	// Members of objects are added one by one, everything else replaces what is there. Users cannot change it, and can read it.
	Config map[string]any `yaml:"config,omitempty"`

	// Landing is the path to which a browser that opens "/" is redirected; "{workspace}" in it is the workspace's directory in
	// unpadded base64url, as OpenCode names a directory. Empty: the server's own page.
	Landing string `yaml:"landing,omitempty"`

	// Git says that the process runtime makes an empty workspace a git repository when it starts the server. The entry point
	// of an image does this itself.
	Git bool `yaml:"git,omitempty"`

	// Command is the command of the process runtime, with "{port}" for the port, and "{workspace}" and other volume names
	// for their directories. Other runtimes do not use it.
	Command []string `yaml:"command,omitempty"`
}

// Probe is a GET request with the server's credential of which the response shows that the server works.
type Probe struct {
	Path   string `yaml:"path"`             // must answer 200 with a JSON object, unless Status says otherwise
	Status int    `yaml:"status,omitempty"` // required status of Path; 0: 200. With any other the content is ignored
	Member string `yaml:"member,omitempty"` // member of the object that must be true; empty: any object is accepted
	Then   string `yaml:"then,omitempty"`   // a second path that must then answer 200 with JSON, as proof that the server works; may be empty

	// Private says that Path must be refused without the credential. A server that answers it lets everybody in, and does not count as
	// ready.
	Private bool `yaml:"private,omitempty"`
}

// WantsJSON reports whether the content of the response is checked.
func (p Probe) WantsJSON() bool { return p.Status == 0 || p.Status == 200 }

// BusyProbe is a GET request with the server's credential of which the response lists the server's work: a JSON array, or an object
// whose members are the work items.
type BusyProbe struct {
	Path   string   `yaml:"path"`
	Within string   `yaml:"within,omitempty"` // member of the answer that has the list; empty: the answer is the list
	Member string   `yaml:"member,omitempty"` // of each element, a string
	Values []string `yaml:"values,omitempty"` // values of the member that mean work in progress; none: every element is work
}

// Volume is a directory that is kept when the container is removed.
type Volume struct {
	Name string `yaml:"name"` // "workspace", "state"; unique in the profile
	Path string `yaml:"path"` // absolute, inside the container
}

// WorkspaceVolume is the name of the volume with the user's files. Its directory on the host is a session's HostDir.
const WorkspaceVolume = "workspace"

// Tmpfs is a directory in memory.
type Tmpfs struct {
	Path string `yaml:"path"`           // absolute, inside the container
	Size Bytes  `yaml:"size"`           // must not be 0
	Mode string `yaml:"mode,omitempty"` // octal; "0700" when empty
	Exec bool   `yaml:"exec,omitempty"` // whether programs in it can be executed
	Own  bool   `yaml:"own,omitempty"`  // whether it is owned by UID and GID instead of root
}

// PasswordVariables returns the variables of the server's environment that have its password.
func (p Profile) PasswordVariables() []string {
	return append([]string{p.PasswordEnv}, p.PasswordEnvAlso...)
}

// LandingPath returns Landing with the workspace filled in.
func (p Profile) LandingPath() string {
	directory := ""
	for _, v := range p.Volumes {
		if v.Name == WorkspaceVolume {
			directory = path.Clean(v.Path)
		}
	}
	return strings.ReplaceAll(p.Landing, "{workspace}", base64.RawURLEncoding.EncodeToString([]byte(directory)))
}

// landing matches what Landing may be: a path of this server, and not the one that is redirected.
var landing = regexp.MustCompile(`^/[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// StateVolumes returns the volumes with the server's state: all except the workspace.
func (p Profile) StateVolumes() []Volume {
	return slices.DeleteFunc(slices.Clone(p.Volumes), func(v Volume) bool { return v.Name == WorkspaceVolume })
}

// Validate reports every fault of the profile at once.
func (p Profile) Validate() error {
	var faults []error
	add := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	add(p.Image == "", "image is missing")
	add(p.Port < 1 || p.Port > 65535, "port %d is not in 1..65535", p.Port)
	add(p.UID <= 0 || p.GID <= 0, "uid %d and gid %d must both be above 0: sessions never run as root", p.UID, p.GID)
	add(p.PasswordEnv == "", "password_env is missing: a server without a password is open to every neighbour")
	add(p.Username == "" || strings.Contains(p.Username, ":"), "username %q is empty or has a colon", p.Username)
	add(!strings.HasPrefix(p.Ready.Path, "/"), "ready.path %q does not begin with /", p.Ready.Path)
	add(p.Ready.Status != 0 && (p.Ready.Status < 200 || p.Ready.Status > 299), "ready.status %d is not in 200..299", p.Ready.Status)
	add(p.Ready.Member != "" && !p.Ready.WantsJSON(), "ready.member %q is not checked with ready.status %d", p.Ready.Member, p.Ready.Status)
	add(p.Landing != "" && !landing.MatchString(p.LandingPath()), "landing %q is not a plain path below /", p.Landing)
	seen := map[string]bool{}
	for _, v := range p.Volumes {
		add(v.Name == "" || seen[v.Name], "volume %q has no name of its own", v.Path)
		add(!path.IsAbs(v.Path) || path.Clean(v.Path) == "/", "volume %s: path %q is not an absolute directory", v.Name, v.Path)
		seen[v.Name] = true
	}
	add(!seen[WorkspaceVolume], "there is no volume named %s", WorkspaceVolume)
	for _, t := range p.Tmpfs {
		add(!path.IsAbs(t.Path) || path.Clean(t.Path) == "/", "tmpfs path %q is not an absolute directory", t.Path)
		add(t.Size <= 0, "tmpfs %s has no size", t.Path)
	}
	for _, name := range p.PasswordVariables() {
		_, clash := p.Env[name]
		add(clash, "env sets %s, which Berth sets itself", name)
	}
	if err := p.Egress.Validate(); err != nil {
		faults = append(faults, err)
	}
	add(p.Memory < 0 || p.CPUs < 0 || p.Processes < 0, "memory, cpus and pids must not be negative")
	add(p.Memory > 0 && p.Memory < p.MinMem, "memory %s is below min_memory %s", p.Memory, p.MinMem)
	if _, err := p.WithConfig(); err != nil {
		faults = append(faults, err)
	}
	add(slices.Contains(p.PasswordEnvAlso, ""), "password_env_also has an empty name")
	add(p.Ready.Private && !p.Ready.WantsJSON(), "ready.private is not checked with ready.status %d", p.Ready.Status)
	for _, b := range p.Busy {
		add((b.Member == "") != (len(b.Values) == 0), "busy %s: member and values go together", b.Path)
	}
	return errors.Join(faults...)
}
