package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Rig is what the experiments need: the recorder, the program that is
// recorded, and a file on which the modules are deployed.
type Rig struct {
	dir      string
	recorder string
	load     string
	Base     map[string][]byte // the folder of a weft that has closed, with all that the load calls
}

// NewRig builds a rig in dir. It needs cc, and a libc that loads libraries
// ahead of itself.
func NewRig(ctx context.Context, dir string) (*Rig, error) {
	r := &Rig{dir: dir, recorder: filepath.Join(dir, "disk.so"), load: filepath.Join(dir, "load")}
	_, file, _, _ := runtime.Caller(0)
	here := filepath.Dir(file)
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "cc"
	}
	for _, args := range [][]string{
		{cc, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", r.recorder, filepath.Join(here, "recorder/disk.c"), "-lpthread"},
		{"go", "build", "-o", r.load, "./load"},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = here
		if out, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s (weft's tests need Linux and a C compiler): %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	base := filepath.Join(dir, "base")
	if _, err := r.start(ctx, Job{Do: "prepare", DB: filepath.Join(base, "weft.db")}); err != nil {
		return nil, err
	}
	var err error
	r.Base, err = folder(base)
	return r, err
}

// Recording is what a process did to its folder.
type Recording struct {
	Before map[string][]byte
	Ops    []Op
	After  map[string][]byte // as the process left it, with nothing of the power cut
	Report Report
	Hits   int // of the fault
}

// Record lets the program do a job on a folder with these files.
func (r *Rig) Record(ctx context.Context, job Job, files map[string][]byte) (Recording, error) {
	dir, err := os.MkdirTemp(r.dir, "disk")
	if err != nil {
		return Recording{}, err
	}
	defer os.RemoveAll(dir)
	rec := Recording{Before: files}
	job.DB, job.Record, job.FaultPage = filepath.Join(dir, "data", "weft.db"), filepath.Join(dir, "record"), filepath.Join(dir, "fault")
	if err := lay(filepath.Dir(job.DB), files); err != nil {
		return rec, err
	}
	if err := lay(dir, map[string][]byte{"record": nil, "fault": make([]byte, faultSize)}); err != nil {
		return rec, err
	}
	if rec.Report, err = r.start(ctx, job); err != nil {
		return rec, err
	}
	record, err := os.ReadFile(job.Record)
	if err != nil {
		return rec, err
	}
	if rec.Ops, err = parse(record); err != nil {
		return rec, err
	}
	if rec.Hits, err = Hits(job.FaultPage); err != nil {
		return rec, err
	}
	rec.After, err = folder(filepath.Dir(job.DB))
	return rec, err
}

// start runs the program; under the recorder when the job has a record.
func (r *Rig) start(ctx context.Context, job Job) (report Report, err error) {
	job.Cache = filepath.Join(r.dir, "cache")
	arg, err := json.Marshal(job)
	if err != nil {
		return report, err
	}
	if err := os.MkdirAll(filepath.Dir(job.DB), 0o700); err != nil {
		return report, err
	}
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, r.load, string(arg))
	cmd.Stdout, cmd.Stderr = &out, &log
	if job.Record != "" {
		cmd.Env = append(os.Environ(), "LD_PRELOAD="+r.recorder, "WEFT_DISK_DIR="+filepath.Dir(job.DB), "WEFT_DISK_RECORD="+job.Record, "WEFT_DISK_FAULT="+job.FaultPage)
	}
	if err := cmd.Run(); err != nil {
		return report, fmt.Errorf("load %s: %w\n%s", job.Do, err, log.Bytes())
	}
	if out.Len() > 0 {
		err = json.Unmarshal(out.Bytes(), &report)
	}
	return report, err
}

// finish opens the files as weft does after a crash, lets every run end, and
// gives the files as it closed them.
func (r *Rig) finish(ctx context.Context, files map[string][]byte) (map[string][]byte, error) {
	dir, err := os.MkdirTemp(r.dir, "finish")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := lay(dir, files); err != nil {
		return nil, err
	}
	if _, err := r.start(ctx, Job{Do: "finish", DB: filepath.Join(dir, "weft.db")}); err != nil {
		return nil, err
	}
	return folder(dir)
}

// judge is Check of files that are nowhere yet.
func (r *Rig) judge(ctx context.Context, files map[string][]byte, acks []Ack) (Verdict, error) {
	dir, err := os.MkdirTemp(r.dir, "image")
	if err != nil {
		return Verdict{}, err
	}
	defer os.RemoveAll(dir)
	if err := lay(dir, files); err != nil {
		return Verdict{}, err
	}
	return Check(ctx, filepath.Join(dir, "weft.db"), acks)
}

func lay(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// folder reads the files that are durable: neither the lock nor the index of
// the log, which is memory.
func folder(dir string) (map[string][]byte, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".lock") || strings.HasSuffix(e.Name(), "-shm") {
			continue
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return files, nil
}
