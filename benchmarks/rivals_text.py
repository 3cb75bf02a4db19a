"""What the page of benchmarks/rivals.py says between its tables."""

SETTING = """{processor}, {cores} cores, {threads} threads, {machine}; Python {python}, {libraries}. Two
    {family} teachers of {teacher_shape} (layers × width, {teacher_size} parameters each), one student of
    {student_shape} ({student_size}), random weights (seed {seed}), vocabulary {vocabulary:,}
    ({student_tokenizer}). A batch is {rows} × {longest} pieces of real text ({step_text}):
    {tokens_per_step:,.0f} tokens and {slots_per_step:.0f} masked pieces a step."""

STEP = """The same models, text, batches, threads, optimiser (fused AdamW) and clipping for all. Every step is
    whole: {collation}, forward, backward, clipping, optimiser. Tokens are the student's, padding left out.
    bf16 is autocast. The variants take turns, {rounds} rounds, each in another order; a turn is {turn} steps
    behind one that does not count. Limbeck's stand in one process and the other programs' in another, each
    with the memory settings it comes with: Limbeck asks for large pages, the others do not. A ratio is taken
    within each round. Medians, with the lowest and the highest round in brackets."""

RATIOS = """Of tokens per second. Where a program was measured in two ways, the faster of them is compared.
    `step of …` are ratios of times."""

KEPT = """Full logits are blocks of [batch, length, vocabulary]. glibc gives such blocks back to the system
    after every use, and clearing their pages anew takes a large part of those programs' time. Where their
    allocator is told to keep what it has (`MALLOC_MMAP_THRESHOLD_` and `MALLOC_TRIM_THRESHOLD_` at 8 GB: not
    the default, and it costs memory), and Limbeck runs as it comes, the same comparison gives:"""

MEMORY = """Beyond what is in use after models and optimiser are built, each in a process of its own; in
    brackets as a share of TextBrewer's in the same precision, the leaner of its two. Gradients and AdamW's
    moments count."""

PEAK = """A product of two {rows:,} × {rows:,} matrices in the same run: {peaks} GFLOP/s. The share is of the
    fastest bf16 product. Operations of a forward: 2 · weights of the linear layers · positions, and
    attention's 4 · length · width · layers · positions; a backward twice that; the teachers forward only.
    What a step needs takes the head at the masked pieces only; what a program does that makes full logits is
    given beside it."""

OPERATIONS = (
    """torch's profiler over whole steps; means. It slows small operations, and with them the step."""
)

PARTS = "The same steps by part: medians, between stopwatches in the real code."

COMPILED = """A teacher's forward, its body compiled (dynamic shapes, as no two batches are alike) and as it
    is, in turns; medians. Limbeck does not compile: it takes a C++ compiler, and comes back only in long
    trainings whose teachers run, where a store saves far more."""

OTHERS = (
    """**TextBrewer**: `MultiTeacherDistiller.train_on_batch` and the lines of its training loop. It
    averages raw logits, which asks for one vocabulary for all models and gives every teacher the same
    weight. Its half precision is apex's, so bf16 is autocast around its step. It can keep the teachers'
    logits in memory (`is_caching_logits`), whole: {kilobytes} kB a token for two teachers, which is no
    way through a corpus.""",
    """**transformers' Trainer**: its `training_step` with a `compute_loss` that runs the teachers, and the
    lines of its loop. Autocast stands in the loss, which spares it a float32 copy of the full logits.""",
    """**torchdistill**: `DistillationBox.forward_process` and `post_forward_process` with its `KDLoss`.
    It knows one teacher, so a module of ours gives the mean of two; its `KDLoss` takes the softmax over
    dimension 1, so that module gives rows [batch · length, vocabulary]. It has no mask for the
    positions that count, no weights of teachers, no other vocabulary, and no half precision on a CPU
    but autocast around it.""",
)
