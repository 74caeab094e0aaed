"""What live stores answer: who has which partition, and the conversation with it."""
