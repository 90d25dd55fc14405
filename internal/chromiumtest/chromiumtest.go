// Package chromiumtest gives tests a Chromium that nothing on this machine disturbs.
//
// It knows the browser and the kernel's network namespaces. It does not know what is tested, and never installs a browser:
// BERTH_TEST_CHROMIUM names one.
package chromiumtest

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	pathVariable    = "BERTH_TEST_CHROMIUM"
	requireVariable = "BERTH_TEST_REQUIRE"

	startTimeout = 2 * time.Minute // on a machine that is busy with other tests
)

// Path returns Chromium's path. It skips the test when BERTH_TEST_CHROMIUM is not set, and fails it instead when
// BERTH_TEST_REQUIRE=1.
func Path(t testing.TB) string {
	t.Helper()
	path := os.Getenv(pathVariable)
	if path == "" {
		const why = "needs Chromium: set " + pathVariable + " to its path"
		if os.Getenv(requireVariable) == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return path
}

// Start starts a browser with a new profile, which resolves every name to 127.0.0.1, unless an option says otherwise, and returns
// the context of its first tab. It ends with the test. It reaches these addresses of this machine's loopback interface, and nothing
// else; without any it has this machine's own network. It skips or fails as [Path] does.
func Start(t testing.TB, addresses []string, more ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	path := Path(t)
	var enter []string
	if len(addresses) > 0 {
		enter = isolate(t, addresses)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:len(chromedp.DefaultExecAllocatorOptions):len(chromedp.DefaultExecAllocatorOptions)],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(startTimeout),
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("host-resolver-rules", "MAP * 127.0.0.1"),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) {
			if enter != nil {
				cmd.Path, cmd.Args = enter[0], append(enter[:len(enter):len(enter)], append([]string{path}, cmd.Args[1:]...)...)
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		}))
	allocator, end := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), append(options, more...)...)
	t.Cleanup(end)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(func() {
		_ = chromedp.Cancel(tab) // waits until the browser has ended, which then writes its profile no more
		closeTab()
	})
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return tab
}
