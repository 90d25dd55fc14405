package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"berth/internal/session"
)

const (
	// partialRepository is the directory in a workspace in which its repository is made: the same as in the session image, whose
	// entry point does there what this file does here.
	partialRepository = ".git-init.part"
	gitTimeout        = 10 * time.Second // for git, which takes milliseconds
)

// makeRepository makes the workspace a git repository if it is empty and the profile wants it. The repository is made in
// another directory and then moved to its place, so that an interruption leaves none that is half-made. The server works
// without it: a failure is logged only.
func (r *Runtime) makeRepository(c *container) {
	if !c.record.Profile.Git {
		return
	}
	if err := initWorkspace(r.volumeDir(c.name, session.WorkspaceVolume), c.home()); err != nil {
		r.opts.Logger.WarnContext(context.Background(), "workspace not made a git repository", "container", c.name, "error", err)
	}
}

func initWorkspace(workspace, home string) error {
	part := filepath.Join(workspace, partialRepository)
	entries, err := os.ReadDir(workspace)
	switch {
	case err != nil:
		return err
	case len(entries) == 1 && entries[0].Name() == partialRepository: // of an interrupted start
		if err := removeAll(part); err != nil {
			return err
		}
	case len(entries) > 0:
		if info, err := os.Lstat(part); err == nil && info.IsDir() {
			_ = os.Remove(part) // an interruption after the move has left it, empty; one with files is the user's
		}
		return nil
	}
	git, err := exec.LookPath("git")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, git, "init", "--quiet", "--initial-branch=main", "--template=", part)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}
	cmd.Dir, cmd.WaitDelay = workspace, time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git init: %w: %.200q", err, out)
	}
	if err := os.Rename(filepath.Join(part, ".git"), filepath.Join(workspace, ".git")); err != nil {
		return err
	}
	return os.Remove(part)
}
