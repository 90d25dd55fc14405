// Package docs_test runs the commands of the documentation.
package docs_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/internal/dockertest"
	"berth/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const timeout = 3 * time.Minute

// block is a fenced block of a page.
type block struct {
	words []string // after the fence: the language, then marks such as runnable, exit=1, file=NAME
	text  string
	line  int // of the fence, from 1
}

// mark is the value of "name=value" after the fence; "" if there is none.
func (b block) mark(name string) string {
	for _, w := range b.words {
		if value, ok := strings.CutPrefix(w, name+"="); ok {
			return value
		}
	}
	return ""
}

func (b block) runnable() bool { return len(b.words) > 1 && b.words[1] == "runnable" }

// blocks reads the fenced blocks of a page.
func blocks(page string) ([]block, error) {
	const fence = "```"
	var all []block
	var open *block
	for i, line := range strings.Split(page, "\n") {
		words, isFence := strings.CutPrefix(line, fence)
		switch {
		case isFence && open == nil:
			open = &block{words: strings.Fields(words), line: i + 1}
		case isFence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	if open != nil {
		return nil, fmt.Errorf("the block of line %d is not closed", open.line)
	}
	return all, nil
}

// script makes one program of all runnable blocks: they share directory and variables, as in a terminal.
func script(all []block) string {
	var b strings.Builder
	b.WriteString("set -u\n")
	for _, block := range all {
		if !block.runnable() {
			continue
		}
		want := block.mark("exit")
		if want == "" {
			want = "0"
		}
		// Blocks that may fail do so in a shell of their own, so that the first failing command ends them.
		body := "set -e\n" + block.text + "set +e\ncode=0\n"
		if want != "0" {
			body = "( set -e\n" + block.text + ")\ncode=$?\n"
		}
		fmt.Fprintf(&b, "echo '--- line %d' >&2\n%s[ $code = %s ] || { echo \"the block of line %d ended with $code, want %s\" >&2; exit 99; }\n",
			block.line, body, want, block.line, want)
	}
	return b.String()
}

func TestMigrationGuideWorks(t *testing.T) {
	t.Parallel()
	socket, instance := strings.TrimPrefix(dockertest.Engine(t), "unix://"), dockertest.Instance(t)
	dockertest.StubProfile(t) // puts an image on the engine, for the temporary container
	page, err := os.ReadFile("../../docs/migrating-from-socket.md")
	if err != nil {
		t.Fatal(err)
	}
	_, guardPort, err := net.SplitHostPort(harness.FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	// The guide's port may be in use on this machine.
	all, err := blocks(strings.ReplaceAll(string(page), "2376", guardPort))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	must(t, os.Mkdir(state, 0o700))
	must(t, os.WriteFile(filepath.Join(state, "instance"), []byte(instance+"\n"), 0o600))
	for _, b := range all {
		if name := b.mark("file"); name != "" {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(b.text), 0o600))
		}
	}
	serve := harness.FreeAddress(t)
	out := run(t, dir, script(all), []string{
		"PATH=" + filepath.Dir(harness.Binary(t)) + ":" + os.Getenv("PATH"), "HOME=" + dir, "BERTH_STATE_DIR=" + state, "BERTH_LISTEN=" + serve, "BERTH_URL=http://" + serve,
		"BERTH_GUARD_SOCKET=" + socket, "BERTH_GUARD_LISTEN=tcp://127.0.0.1:" + guardPort, "DOCKER_NETWORK=" + instance,
		"RESOURCE_CRITICAL_THRESHOLD=1", // tests keep machines busy
	})
	for _, want := range []string{
		"socket-in-compose", "corrected docker/certs/client-key.pem", "foreign-certificate-refused", "compose-clean", "0 failed",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the output of the guide's commands does not contain %q:\n%s", want, out)
		}
	}
}

// An unmarked block is not run, so a lost mark would go unnoticed.
func TestMigrationGuideHasRunnableBlocks(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/migrating-from-socket.md")
	if err != nil {
		t.Fatal(err)
	}
	all, err := blocks(string(page))
	if err != nil {
		t.Fatal(err)
	}
	run, files := 0, 0
	for _, b := range all {
		if b.runnable() {
			run++
		}
		if b.mark("file") != "" {
			files++
		}
	}
	if run < 10 || files != 2 {
		t.Errorf("got %d runnable blocks and %d files, want at least 10 and 2", run, files)
	}
}

func TestScriptFailsWithTheBlockThatFails(t *testing.T) {
	t.Parallel()
	all, err := blocks("a\n```sh runnable\nX=1\n```\n```sh\nfalse\n```\n```sh runnable exit=3\nfalse || exit 3\n```\n```yaml file=x.yaml\ny: 1\n```\n")
	if err != nil || len(all) != 4 || all[3].mark("file") != "x.yaml" || all[0].line != 2 {
		t.Fatalf("got %+v, %v", all, err)
	}
	if _, err := blocks("```sh\n"); err == nil {
		t.Error("an open block was no error")
	}
	for text, want := range map[string]int{
		"```sh runnable\nX=1\n```\n```sh runnable\ntest $X = 1\n```\n":         0,
		"```sh runnable\nfalse\ntrue\n```\n":                                   1,
		"```sh runnable exit=3\nexit 3\n```\n```sh runnable\nexit 0\n```\n":    0,
		"```sh runnable exit=3\ntrue\n```\n":                                   99,
		"```sh runnable exit=1\nfalse\ntrue\n```\n```sh runnable\ntrue\n```\n": 0,
	} {
		all, err := blocks(text)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-c", script(all))
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%q: got exit code %d, want %d", text, got, want)
		}
	}
}

// run runs a bash program with this environment, and stops the processes that it leaves in the background.
func run(t *testing.T, dir, program string, environ []string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", program)
	cmd.Dir, cmd.Env = dir, environ
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 10 * time.Second
	// The process group is that of this command.
	end := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = end
	must(t, cmd.Start())
	err := cmd.Wait()
	_ = end()
	if err != nil {
		logs := ""
		for _, name := range []string{"guard.log", "serve.log", "test.log", "sessions.log"} {
			text, _ := os.ReadFile(filepath.Join(dir, name))
			logs += "== " + name + "\n" + string(text)
		}
		t.Fatalf("the guide's commands: %v\n%s\n%s", err, out.String(), logs)
	}
	return out.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
