"""What queriers and this process read of blocks: jobs about files, messages, and answers that are kept."""
