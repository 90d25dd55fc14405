package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// buildInfo is the version of this program and its source.
type buildInfo struct {
	Version  string `json:"version"`            // semantic version; ends in "-dev" outside of a release
	Commit   string `json:"commit,omitempty"`   // of the repository; empty when it was built without one
	Time     string `json:"time,omitempty"`     // of the commit, RFC 3339
	Modified bool   `json:"modified,omitempty"` // whether files differed from the commit
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// release is the version under development. A release build sets it with
// -ldflags '-X main.release=1.2.3'.
var release = "0.6.0-dev"

func readBuildInfo() buildInfo {
	b := buildInfo{Version: release, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	// Without a tag the toolchain reports "(devel)" or v0.0.0-<time>-<commit>.
	if tag := info.Main.Version; strings.HasPrefix(tag, "v") && !strings.HasPrefix(tag, "v0.0.0-") {
		b.Version = strings.TrimPrefix(tag, "v")
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// String is the version on one line.
func (b buildInfo) String() string {
	commit := cmp.Or(b.Commit, "unknown commit")
	if b.Modified {
		commit += ", modified"
	}
	return fmt.Sprintf("berth %s (%s, %s, %s)", b.Version, commit, b.Go, b.Platform)
}

// version is the version number alone.
func version() string { return readBuildInfo().Version }

// versionFlag is "berth --version": the same line as "berth version".
type versionFlag bool

// BeforeReset prints the version and exits before anything else is parsed or required.
func (versionFlag) BeforeReset(app *kong.Kong, std *stdio) error {
	if _, err := fmt.Fprintln(std.Out, readBuildInfo()); err != nil {
		return err
	}
	app.Exit(exitOK)
	return nil
}

type versionCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"Form of the output: ${enum}."`
}

// Help shows examples.
func (versionCmd) Help() string {
	return `Examples:

    berth version
    berth version --output json`
}

// Run implements "berth version".
func (c versionCmd) Run(std *stdio) error {
	b := readBuildInfo()
	if c.Output == "json" {
		return writeJSON(std.Out, b)
	}
	_, err := fmt.Fprintln(std.Out, b)
	return err
}
