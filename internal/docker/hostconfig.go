package docker

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"time"

	"berth/internal/session"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// Labels of everything that Berth makes on an engine.
const (
	labelSession   = "berth.session"   // session ID
	labelInstance  = "berth.instance"  // installation
	labelCreated   = "berth.created"   // RFC 3339, UTC
	labelContainer = "berth.container" // of a volume: name of the container that it is for
	labelAttempt   = "berth.attempt"   // random: identifies this attempt to create a container
	labelPort      = "berth.port"      // that the server listens on in the container
	labelNetwork   = "berth.network"   // of a network: made for sessions
	labelProfile   = "berth.profile"   // name of the image profile, for the recovery of a session without its record
	labelSpec      = "berth.spec"      // digests of what the container was made from; see [specDigests]
	labelHelper    = "berth.helper"    // of a container that is not a session's server: its purpose
)

const (
	openFiles      = 16384    // per process; an engine without CAP_SYS_RESOURCE cannot grant more than it has itself
	sharedMemory   = 64 << 20 // bytes of /dev/shm, the engine's own default
	oomScore       = 500      // when the host runs out of memory, sessions are killed before its services
	logSize        = "10m"
	logFiles       = "3"
	noNewPrivilege = "no-new-privileges:true"
)

// containerOptions translates a specification into the engine's API. All hardening is set here: no setting changes it, and
// it overrides what the image says about users, health checks and the like.
func (r *Runtime) containerOptions(spec session.Spec, attempt string, on attachment) (client.ContainerCreateOptions, error) {
	port, _ := network.PortFrom(uint16(spec.Profile.Port), network.TCP) // in range: the profile is valid
	labels := map[string]string{
		labelSession:  string(spec.Session),
		labelInstance: r.instance,
		labelCreated:  spec.CreatedAt.UTC().Format(time.RFC3339Nano),
		labelAttempt:  attempt,
		labelPort:     strconv.Itoa(spec.Profile.Port),
	}
	if spec.ProfileName != "" {
		labels[labelProfile] = spec.ProfileName
	}
	config := &container.Config{
		User:         fmt.Sprintf("%d:%d", spec.Profile.UID, spec.Profile.GID),
		Image:        spec.Image,
		Env:          environment(spec),
		Labels:       labels,
		ExposedPorts: network.PortSet{port: {}},
		// Each of the engine's own health checks is a process in the container, and Berth probes servers itself.
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	tmpfs, err := memoryMounts(spec.Profile)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	host := &container.HostConfig{
		CapDrop:        []string{"ALL"},
		SecurityOpt:    r.securityOptions(),
		ReadonlyRootfs: true,
		Privileged:     false,
		IpcMode:        container.IPCModePrivate,
		CgroupnsMode:   container.CgroupnsModePrivate,
		Init:           new(true), // reaps orphans and passes signals on, also for images that have no init
		OomScoreAdj:    oomScore,
		ShmSize:        sharedMemory,
		Tmpfs:          tmpfs,
		Mounts:         r.volumeMounts(spec),
		NetworkMode:    container.NetworkMode(on.network),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		LogConfig: container.LogConfig{
			Type:   "local",
			Config: map[string]string{"max-size": logSize, "max-file": logFiles},
		},
		Annotations: map[string]string{labelSession: string(spec.Session)}, // for tools below the engine, such as an OCI runtime's
		Resources: container.Resources{
			Memory:     int64(spec.Limits.Memory),
			MemorySwap: int64(spec.Limits.Memory), // memory and swap together: none of it is swap
			CPUQuota:   spec.Limits.CPUs.In(r.cpuPeriod.Microseconds()),
			CPUPeriod:  r.cpuPeriod.Microseconds(),
			PidsLimit:  new(spec.Limits.Processes),
			Ulimits: []*container.Ulimit{
				{Name: "core", Soft: 0, Hard: 0}, // a dump would hold the user's secrets
				{Name: "nofile", Soft: openFiles, Hard: openFiles},
			},
		},
	}
	if on.dns.IsValid() {
		// The engine would add the search domains of its host to it, and ask for each name in all of them.
		host.DNS, host.DNSSearch = []netip.Addr{on.dns}, []string{"."}
	}
	if !on.direct {
		host.PortBindings = network.PortMap{port: {{HostIP: r.publish}}} // no port: the engine picks a free one at each start
	}
	r.dropUnsupported(host)
	made := client.ContainerCreateOptions{Name: spec.Name, Config: config, HostConfig: host}
	labels[labelSpec], err = specDigests(made)
	return made, err
}

func (r *Runtime) securityOptions() []string {
	if !r.seccomp {
		return []string{noNewPrivilege}
	}
	return []string{noNewPrivilege, sessionSeccomp}
}

// versionedFields lists the fields that an engine may be too old for. An old engine silently ignores a field that it does not
// know, so such fields are removed: what is sent is what can be verified.
var versionedFields = []struct {
	since string // API version
	clear func(*container.HostConfig)
}{
	{"1.41", func(h *container.HostConfig) { h.CgroupnsMode = container.CgroupnsModeEmpty }},
	{"1.43", func(h *container.HostConfig) { h.Annotations = nil }},
}

func (r *Runtime) dropUnsupported(host *container.HostConfig) {
	for _, field := range versionedFields {
		if !r.supports(field.since) {
			field.clear(host)
		}
	}
}

func environment(spec session.Spec) []string {
	own := maps.Clone(spec.Profile.Env)
	if own == nil {
		own = map[string]string{}
	}
	maps.Copy(own, spec.Env)
	env := make([]string, 0, len(own)+1)
	for name, value := range own {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	for _, name := range spec.Profile.PasswordVariables() {
		env = append(env, name+"="+spec.Credential.Reveal())
	}
	return env
}

// memoryMounts writes tmpfs options. Where the image has the directory already, runc before 1.2 gives the mount that
// directory's mode, whatever is asked for here.
func memoryMounts(profile session.Profile) (map[string]string, error) {
	mounts := make(map[string]string, len(profile.Tmpfs))
	for _, t := range profile.Tmpfs {
		mode := cmp.Or(t.Mode, "0700")
		if _, err := strconv.ParseUint(mode, 8, 12); err != nil {
			return nil, session.Errorf(session.CodeInvalid, "the mode %q of tmpfs %s is not an octal number", mode, t.Path)
		}
		run := "noexec"
		if t.Exec {
			run = "exec"
		}
		options := fmt.Sprintf("rw,%s,nosuid,nodev,size=%d,mode=%s", run, int64(t.Size), mode)
		if t.Own {
			options += fmt.Sprintf(",uid=%d,gid=%d", profile.UID, profile.GID)
		}
		mounts[path.Clean(t.Path)] = options
	}
	return mounts, nil
}

// volumeMounts names the volumes after the container, so that the next container of that name finds them. The engine
// makes those that are missing, with the content and owner of the directory in the image.
func (r *Runtime) volumeMounts(spec session.Spec) []mount.Mount {
	mounts := make([]mount.Mount, 0, len(spec.Profile.Volumes))
	for _, v := range spec.Profile.Volumes {
		mounts = append(mounts, r.volumeMount(spec, volumeName(spec.Name, v.Name), v.Path))
	}
	return mounts
}

// volumeMount mounts a volume of a session. The engine makes it with labels that name its session when it is missing.
func (r *Runtime) volumeMount(spec session.Spec, name, at string) mount.Mount {
	labels := map[string]string{
		labelSession:   string(spec.Session),
		labelInstance:  r.instance,
		labelContainer: spec.Name,
	}
	if spec.ProfileName != "" {
		labels[labelProfile] = spec.ProfileName
	}
	return mount.Mount{Type: mount.TypeVolume, Source: name, Target: path.Clean(at), VolumeOptions: &mount.VolumeOptions{Labels: labels}}
}

func volumeName(containerName, volume string) string { return containerName + "-" + volume }

// bindings returns where the one published port is on the engine's host.
func bindings(ports network.PortMap) (netip.AddrPort, bool) {
	for _, bound := range ports {
		for _, b := range bound {
			if number, err := strconv.ParseUint(b.HostPort, 10, 16); err == nil && number > 0 {
				return netip.AddrPortFrom(b.HostIP, uint16(number)), true
			}
		}
	}
	return netip.AddrPort{}, false
}
