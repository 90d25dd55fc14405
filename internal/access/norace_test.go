//go:build !race

package access_test

// fewer divides the repetitions of a test that takes long under the race detector.
const fewer = 1
