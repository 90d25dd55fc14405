package process_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"berth/internal/process"
)

const (
	// idleDir, when set in the environment, makes this program a Berth with idle servers; see beIdle.
	idleDir     = "BERTH_TEST_PROCESS_IDLE"
	idleServers = 20
)

// beIdle opens a runtime, starts servers if there are none, and prints its number of reads in half a second.
func beIdle(dir string) int {
	ctx := context.Background()
	r, err := process.Open(ctx, process.Options{Dir: dir, Instance: "test", Command: []string{"/bin/sleep", "600"}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	all, err := r.List(ctx)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i := len(all); i < idleServers; i++ {
		s := spec("idle-" + strconv.Itoa(i))
		if _, err := r.Create(ctx, s); err != nil {
			fmt.Println(err)
			return 1
		}
		if err := r.Start(ctx, s.Name); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	before, err := readCalls()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	<-time.After(500 * time.Millisecond)
	after, err := readCalls()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println(after - before)
	if err := r.Close(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// readCalls is this process's number of calls of read(2) and similar.
func readCalls() (int, error) {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if count, ok := strings.CutPrefix(line, "syscr: "); ok {
			return strconv.Atoi(strings.TrimSpace(count))
		}
	}
	return 0, fmt.Errorf("there is no count of reads in %q", text)
}

func TestIdleServersCostNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, kind := range []string{"children", "adopted processes"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), idleDir+"="+dir)
		said, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, said)
		}
		reads, err := strconv.Atoi(strings.TrimSpace(string(said)))
		if err != nil {
			t.Fatal(err)
		}
		if reads >= 5*idleServers { // polling 20 times a second would read twice as often
			t.Errorf("%s: %d idle servers cost %d reads in half a second, want them not polled", kind, idleServers, reads)
		}
	}
	r := open(t, dir)
	all, err := r.List(t.Context())
	if err != nil || len(all) != idleServers {
		t.Fatalf("got %d servers, %v; want %d: else the test has no value", len(all), err, idleServers)
	}
	// The end of an adopted process is seen as well.
	if err := r.Stop(t.Context(), "idle-0", 10*time.Second); err != nil {
		t.Errorf("stop of an adopted server: %v", err)
	}
}
