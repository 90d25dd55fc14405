package acme

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"
)

// hookVariable turns this test binary into the operator's hook. Its value is the address of the DNS server's management.
const hookVariable = "BERTH_TEST_ACME_HOOK"

func TestMain(m *testing.M) {
	if at := os.Getenv(hookVariable); at != "" {
		if err := setRecord(at, os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// setRecord is what a hook does, with the DNS server of the tests.
func setRecord(at string, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("got the arguments %q", args)
	}
	for _, name := range []string{"BERTH_ADMIN_TOKEN", "DB_PASSWORD"} {
		if os.Getenv(name) != "" {
			return fmt.Errorf("%s is none of the hook's", name)
		}
	}
	path := map[string]string{"present": "/set-txt", "cleanup": "/clear-txt"}[args[0]]
	body, err := json.Marshal(map[string]string{"host": args[1] + ".", "value": args[2]})
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Post(at+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	return nil
}
