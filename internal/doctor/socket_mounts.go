package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/moby/client"

	"berth/internal/engineaddr"
	"berth/internal/fileset"
)

const adviceSocket = "remove the mount and reach the engine over mutual TLS: docs/migrating-from-socket.md says how"

// socketMounts checks compose files and running containers for mounts of the engine's socket.
func socketMounts(ctx context.Context, o *Options) []Finding {
	return append(o.inComposeFiles(ctx), o.inContainers(ctx)...)
}

// engineSockets returns the possible paths of the engine's socket.
func (o *Options) engineSockets() []string {
	all := []string{"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock"}
	for _, s := range append(slices.Clone(o.Sockets), o.Config.Docker.Host) {
		s = engineaddr.SocketPath(s)
		if filepath.IsAbs(s) {
			all = append(all, filepath.Clean(s))
		}
	}
	return all
}

func (o *Options) inComposeFiles(ctx context.Context) []Finding {
	files, findings := o.composeFiles()
	for _, file := range files {
		if ctx.Err() != nil {
			return findings
		}
		text, err := fileset.ReadFile(file, maxFileSize)
		if err == nil {
			var mounts []composeMount
			mounts, err = composeMounts(text, o.LookupEnv)
			findings = append(findings, o.judgeMounts(file, mounts)...)
		}
		if err != nil {
			findings = append(findings, warn("compose-unreadable", "correct the file, so that it can be looked through",
				"%s could not be looked through: %v", file, err).at(file, 0))
		}
	}
	if len(files) == 0 {
		if len(findings) > 0 {
			return findings
		}
		return []Finding{skip("no-compose-file", "there is no compose file in %s", strings.Join(o.ComposePaths, ", "))}
	}
	return orPass(findings, pass("compose-clean", "no socket is mounted in %s", strings.Join(files, ", ")))
}

func (o *Options) judgeMounts(file string, mounts []composeMount) []Finding {
	var findings []Finding
	for _, m := range mounts {
		what := m.what
		if what == "" {
			source := m.source
			if strings.HasPrefix(source, ".") {
				if dir, err := filepath.Abs(filepath.Dir(file)); err == nil {
					source = filepath.Join(dir, source)
				}
			}
			if how := opensEngine(source, m.target, o.engineSockets()); how != "" {
				what = "mounts " + how + " (" + m.source + ")"
			}
		}
		if what != "" {
			findings = append(findings, fail("socket-in-compose", adviceSocket, "%s: %s; an attacker who breaks into it has root access to the engine's host",
				m.service, what).at(file, m.line))
		}
	}
	return findings
}

// composeFiles lists the compose files: those that are named, and those of the usual names in directories that are named.
func (o *Options) composeFiles() (files []string, findings []Finding) {
	for _, path := range o.ComposePaths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			remedy := "name a compose file, or a directory that holds some"
			if errors.Is(err, fs.ErrNotExist) {
				remedy += "; it may be spelled differently"
			}
			findings = append(findings, warn("compose-unreadable", remedy, "%v", err).at(path, 0))
		case !info.IsDir():
			files = append(files, path)
		default:
			for _, pattern := range []string{"compose*.y*ml", "docker-compose*.y*ml", "stack*.y*ml"} {
				// The patterns are well formed, so that Glob returns no error.
				found, _ := filepath.Glob(filepath.Join(escapeGlob(path), pattern))
				files = append(files, found...)
			}
		}
	}
	slices.Sort(files)
	return slices.Compact(files), findings
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func (o *Options) inContainers(ctx context.Context) []Finding {
	if o.Engine == nil {
		return o.noEngine()
	}
	list, err := o.Engine.ContainerList(ctx, client.ContainerListOptions{})
	if err != nil {
		return []Finding{notAnswered(err)}
	}
	var findings []Finding
	for _, container := range list.Items {
		for _, m := range container.Mounts {
			if how := opensEngine(m.Source, m.Destination, o.engineSockets()); how != "" {
				findings = append(findings, fail("socket-in-container", adviceSocket, "container %s (%s) has %s (%s)",
					nameOf(container), container.Image, how, m.Source))
			}
		}
	}
	return orPass(findings, pass("containers-clean", "none of %d running containers has the engine's socket", len(list.Items)))
}
