package attach_test

import (
	"fmt"
	"strings"
	"time"

	"berth/test/harness"
)

// turn is how long OpenCode's client may take to start and its agent to answer, on a machine that is busy with other tests.
const turn = 2 * time.Minute

// notResolved is the note of programs at a name that this machine's resolver does not know.
const notResolved = "not resolved: path or port"

// prompt has the agent write a file of the workspace. Its answer has the number, which the prompt has not.
func prompt(file string) string {
	return harness.ModelRuns + "echo attached-$((6*7)) | tee " + file
}

const said = harness.ModelAnswers + "attached-42"

// opencodeAttach pastes the printed line into a terminal, and prompts there.
func opencodeAttach(d *door) (string, error) {
	if d.Attach == "" {
		// What happens to somebody who does it all the same.
		tty := d.programs.open(d.T, "opencode attach "+d.base.String()+"; echo ended-$((6*7))")
		defer tty.close()
		if err := tty.await("ended-42"); err != nil {
			return "", err
		}
		return notResolved, nil
	}
	file := "tui-" + d.By
	tty := d.programs.open(d.T, d.Attach)
	defer tty.close()
	if err := tty.await("Ask anything"); err != nil {
		return "", err
	}
	tty.write(prompt(file))
	if err := tty.await("tee " + file); err != nil {
		return "", err
	}
	tty.write("\r")
	if err := tty.await(said); err != nil {
		return "", err
	}
	return works, d.wrote(file)
}

// opencodeRun does a whole turn of the agent. The token is in the environment alone.
func opencodeRun(d *door) (string, error) {
	file := "run-" + d.By
	out, err := d.programs.run(d.T, fmt.Sprintf("opencode run --attach %s --dir /workspace '%s'", d.base, prompt(file)))
	if d.Attach == "" {
		if err == nil {
			return "", fmt.Errorf("it worked although no program should resolve the name: %q", out)
		}
		return notResolved, nil
	}
	if err != nil || !strings.Contains(out, said) {
		return "", fmt.Errorf("%w: %q", err, out)
	}
	return works, d.wrote(file)
}

// wrote checks that the agent has written a file of the workspace.
func (d *door) wrote(file string) error {
	if got, err := d.file(d.T, file); err != nil || got != "attached-42" {
		return fmt.Errorf("the file %s of the workspace has %q, %w", file, got, err)
	}
	return nil
}
