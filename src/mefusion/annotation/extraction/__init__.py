"""From recordings to segments of speech: sound, faces, the speaker, the words, and the subjects of all videos."""
