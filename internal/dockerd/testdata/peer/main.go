// Command peer is what runs in the containers of tests: it answers on port 8080 and, asked for /dial?to=ADDRESS, reports
// whether it can connect there.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") })
	http.HandleFunc("/dial", func(w http.ResponseWriter, r *http.Request) {
		conn, err := net.DialTimeout("tcp", r.URL.Query().Get("to"), 2*time.Second)
		if err != nil {
			fmt.Fprint(w, err)
			return
		}
		conn.Close()
		fmt.Fprint(w, "connected")
	})
	if err := http.ListenAndServe(":8080", nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
