;; A transform written by hand: passes every record through, by reference to the input.
;; Tests make their hostile guests from it, by replacing single lines.
(module
  (import "strait:transform/host@1.0.0" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 4)
  (global $free (mut i32) (i32.const 65536))
  (data (i32.const 1024) "{\"name\":\"identity\",\"version\":\"1.2.3\",\"sdk_version\":\"0.1.0\",\"format_version\":1}")
  (data (i32.const 2048) "panicked at 'no such luck'")

  ;; Takes memory from the front; `cabi_post` gives all of it back.
  (func $allocate (param $length i32) (result i32)
    (local $at i32) (local $pages i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (local.get $at) (local.get $length)))
    (local.set $pages (i32.sub
      (i32.shr_u (i32.add (global.get $free) (i32.const 65535)) (i32.const 16))
      (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then (unreachable)))))
    (local.get $at))

  ;; {tag, pointer, length} at 16.
  (func $return (param $tag i32) (param $at i32) (param $length i32) (result i32)
    (i32.store (i32.const 16) (local.get $tag))
    (i32.store (i32.const 20) (local.get $at))
    (i32.store (i32.const 24) (local.get $length))
    (i32.const 16))

  (func $identity (param $in i32) (result i32)
    (local $count i32) (local $length i32) (local $out i32) (local $row i32) (local $index i32)
    (local.set $count (i32.load offset=12 (local.get $in)))
    (local.set $length (i32.add (i32.const 40) (i32.mul (local.get $count) (i32.const 48))))
    (local.set $out (call $allocate (local.get $length)))
    (memory.fill (local.get $out) (i32.const 0) (local.get $length))
    (i32.store (local.get $out) (i32.const 0x4f525453))           ;; "STRO"
    (i32.store offset=4 (local.get $out) (i32.const 0x00280001))  ;; version 1, header of 40
    (i32.store offset=8 (local.get $out) (local.get $length))
    (i32.store offset=12 (local.get $out) (local.get $count))
    (i32.store offset=16 (local.get $out) (i32.const 48))
    (i32.store offset=20 (local.get $out) (i32.const 40))
    (i32.store offset=24 (local.get $out) (local.get $length))
    (local.set $row (i32.add (local.get $out) (i32.const 40)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $index) (local.get $count)))
        (i32.store offset=40 (local.get $in) (local.get $index))  ;; progress
        (i32.store (local.get $row) (local.get $index))
        (i32.store offset=4 (local.get $row) (i32.const 0x07000000)) ;; emit, inherits all
        (i64.store offset=8 (local.get $row) (i64.const 0x8000000000000000))
        (i32.store offset=40 (local.get $row) (i32.const -1))
        (; each record ;)
        (local.set $row (i32.add (local.get $row) (i32.const 48)))
        (local.set $index (i32.add (local.get $index) (i32.const 1)))
        (br $next)))
    (call $return (i32.const 0) (local.get $out) (local.get $length)))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $allocate (local.get 3)))
  (func (export "strait:transform/guest@1.0.0#describe") (result i32)
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (i32.const 78))
    (i32.const 16))
  (func (export "strait:transform/guest@1.0.0#configure") (param i32 i32) (result i32)
    (call $return (i32.const 0) (i32.const -1) (i32.const -1)))
  (func (export "strait:transform/guest@1.0.0#process") (param $in i32) (param $length i32) (result i32)
    (call $identity (local.get $in)))
  (func (export "cabi_post_strait:transform/guest@1.0.0#process") (param i32)
    (global.set $free (i32.const 65536)))
)
